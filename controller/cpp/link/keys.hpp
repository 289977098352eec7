// The CURVE keys of one machine: its own pair and the machines that it trusts.
// `serl-rt keys` writes such folders: own.key_secret, trusted/<name>.key.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace serl_rt {

struct Keys {
  std::string public_key;  // Z85, 40 characters
  std::string secret_key;
  std::map<std::string, std::string> trusted;  // name -> public key

  // Throws Error that lists the names when `name` is not among the trusted.
  const std::string& trusted_key(const std::string& name) const;
};

// Throws Error: a file is missing or malformed, or the secret may be read by other users.
Keys load_keys(const std::filesystem::path& folder);

}  // namespace serl_rt
