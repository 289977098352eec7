// The last good policies on disk: the controller starts with the newest when no learner is there,
// and goes back to an older one when asked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace serl_rt {

// One thread at a time. A file's name says the order of acceptance, the version and the SHA-256, so
// that a file that was damaged or half written is noticed and one that is whole needs no index.
class PolicyStore {
 public:
  struct Entry {
    std::uint64_t order = 0;  // of acceptance: versions start again with a new learner
    std::uint64_t version = 0;
    std::string sha256;
    std::filesystem::path file;
  };

  // Creates the folder. Throws Error when it cannot. `keep`: how many files remain.
  PolicyStore(std::filesystem::path folder, std::size_t keep);

  // Adds a policy as the newest, on disk when this returns, and removes the oldest beyond `keep`.
  // Throws Error when it cannot be written.
  void save(std::span<const std::byte> bytes, std::uint64_t version, const std::string& sha256);

  // Newest first. Files with other names are ignored.
  std::vector<Entry> entries() const;

  // The policy's bytes. Throws Error when the file cannot be read or is not what its name says.
  std::vector<std::byte> load(const Entry& entry) const;

 private:
  void remove_old(const std::vector<Entry>& existing, const std::string& written) const;

  std::filesystem::path folder_;
  std::size_t keep_;
};

// A whole file. Throws Error when it cannot be read.
std::vector<std::byte> read_file(const std::filesystem::path& file);

}  // namespace serl_rt
