#include "link/keys.hpp"

#include <fstream>
#include <sstream>

#include "core/error.hpp"

namespace serl_rt {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kZ85Length = 40;

// The value of a line `name = "value"`.
std::string read_entry(const fs::path& file, const std::string& name) {
  std::ifstream stream(file);
  if (!stream) {
    throw Error("cannot read the key file " + file.string() + "; make keys with: serl-rt keys");
  }
  for (std::string line; std::getline(stream, line);) {
    const std::size_t start = line.find_first_not_of(" \t");
    if (start == std::string::npos || line.compare(start, name.size(), name) != 0) continue;
    const std::size_t open = line.find('"', start + name.size());
    const std::size_t close = open == std::string::npos ? open : line.find('"', open + 1);
    if (close != std::string::npos && close - open - 1 == kZ85Length) {
      return line.substr(open + 1, kZ85Length);
    }
  }
  throw Error("the key file " + file.string() + " has no line: " + name + " = \"<40 characters>\"");
}

void check_private(const fs::path& file) {
  const fs::perms others = fs::perms::group_all | fs::perms::others_all;
  if ((fs::status(file).permissions() & others) != fs::perms::none) {
    throw Error("the secret key " + file.string() + " may be read by other users; run: chmod 600 " +
                file.string());
  }
}

}  // namespace

const std::string& Keys::trusted_key(const std::string& name) const {
  const auto found = trusted.find(name);
  if (found != trusted.end()) return found->second;
  std::string names;
  for (const auto& entry : trusted) names += (names.empty() ? "" : ", ") + entry.first;
  throw Error("there is no trusted key named " + name +
              "; there are: " + (names.empty() ? "none" : names));
}

Keys load_keys(const fs::path& folder) {
  const fs::path own = folder / "own.key_secret";
  Keys keys;
  keys.public_key = read_entry(own, "public-key");
  keys.secret_key = read_entry(own, "secret-key");
  check_private(own);
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder / "trusted", missing)) {
    if (entry.path().extension() != ".key") continue;
    keys.trusted[entry.path().stem().string()] = read_entry(entry.path(), "public-key");
  }
  if (keys.trusted.empty()) {
    throw Error("there is no key in " + (folder / "trusted").string() +
                ": nobody could connect; make keys with: serl-rt keys");
  }
  return keys;
}

}  // namespace serl_rt
