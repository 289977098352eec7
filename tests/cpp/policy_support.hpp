// What the tests of the policy side share: golden files, the contract they are for, ONNX Runtime.
#pragma once

#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "policy/contract.hpp"
#include "policy/policy_store.hpp"
#include "policy/session.hpp"
#include "policy/sha256.hpp"
#include "policy/verify.hpp"

namespace serl_rt::test {

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(SERL_RT_SOURCE_DIR) / "tests" / "golden" / "policies" / name;
}

// Canonical JSON and id as Python printed them.
inline std::pair<std::string, std::string> golden_contract_text(const std::string& name) {
  std::ifstream input(golden("contract_" + name + ".txt"));
  std::pair<std::string, std::string> lines;
  std::getline(input, lines.first);
  std::getline(input, lines.second);
  return lines;
}

inline Contract golden_contract() {
  return contract_from_json(golden_contract_text("golden").first);
}

#ifdef SERL_RT_TEST_ONNXRUNTIME
// A golden policy with its announcement.
struct GoldenPolicy {
  explicit GoldenPolicy(const std::string& name, std::uint64_t its_version = 9)
      : bytes(read_file(golden(name + ".onnx"))), version(its_version) {
    set_onnxruntime_hint(SERL_RT_TEST_ONNXRUNTIME);
  }
  PolicyOffer offer() const { return {version, bytes.size(), sha256_hex(bytes), bytes}; }

  std::vector<std::byte> bytes;
  std::uint64_t version;
};
#endif

// A folder that is empty at the start and gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "serl_rt_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace serl_rt::test
