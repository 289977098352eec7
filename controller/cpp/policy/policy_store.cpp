#include "policy/policy_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>

#include "core/error.hpp"
#include "policy/file_pieces.hpp"
#include "policy/sha256.hpp"

namespace serl_rt {
namespace {

constexpr std::string_view kPrefix = "policy-";
constexpr std::string_view kSuffix = ".onnx";
constexpr std::string_view kHalfWritten = ".tmp";
constexpr std::size_t kHexDigits = 64;

[[noreturn]] void fail(const char* action, const std::filesystem::path& file) {
  throw Error(std::string("policy store: cannot ") + action + " " + file.string() + ": " +
              std::strerror(errno));
}

class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags)
      : descriptor_(open(path.c_str(), flags, 0644)), path_(path) {
    if (descriptor_ < 0) fail("open", path);
  }
  ~Descriptor() { close(descriptor_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void write_all(std::span<const std::byte> bytes) {
    if (!write_through_in_pieces(descriptor_, bytes)) fail("write", path_);
  }

  void sync() {
    if (fsync(descriptor_) != 0) fail("write", path_);
  }

 private:
  int descriptor_;
  std::filesystem::path path_;
};

// The number in front of `separator`, which is removed from `text` together with it.
std::optional<std::uint64_t> take_number(std::string_view& text, std::string_view separator) {
  const std::size_t end = text.find(separator);
  if (end == std::string_view::npos) return std::nullopt;
  std::uint64_t value = 0;
  const std::string digits(text.substr(0, end));
  const char* const last = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), last, value);
  if (error != std::errc() || stop != last) return std::nullopt;
  text.remove_prefix(end + separator.size());
  return value;
}

// policy-<order>-v<version>-<sha256>.onnx
std::optional<PolicyStore::Entry> parse_name(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  std::string_view rest = name;
  if (!rest.starts_with(kPrefix) || !rest.ends_with(kSuffix)) return std::nullopt;
  rest.remove_prefix(kPrefix.size());
  rest.remove_suffix(kSuffix.size());
  const auto order = take_number(rest, "-v");
  if (!order) return std::nullopt;
  const auto version = take_number(rest, "-");
  if (!version || rest.size() != kHexDigits) return std::nullopt;
  return PolicyStore::Entry{*order, *version, std::string(rest), file};
}

}  // namespace

PolicyStore::PolicyStore(std::filesystem::path folder, std::size_t keep)
    : folder_(std::move(folder)), keep_(std::max<std::size_t>(keep, 1)) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) {
    throw Error("policy store: cannot create " + folder_.string() + ": " + error.message());
  }
}

void PolicyStore::save(std::span<const std::byte> bytes, std::uint64_t version,
                       const std::string& sha256) {
  const std::vector<Entry> existing = entries();
  const std::uint64_t order = existing.empty() ? 1 : existing.front().order + 1;
  const std::filesystem::path file =
      folder_ / (std::string(kPrefix) + std::to_string(order) + "-v" + std::to_string(version) +
                 '-' + sha256 + std::string(kSuffix));
  const std::filesystem::path half_written = file.string() + std::string(kHalfWritten);
  {
    Descriptor output(half_written, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
    output.write_all(bytes);
    output.sync();
  }
  if (std::rename(half_written.c_str(), file.c_str()) != 0) fail("rename", half_written);
  Descriptor(folder_, O_RDONLY | O_DIRECTORY | O_CLOEXEC).sync();  // makes the new name last
  remove_old(existing, sha256);
}

// Keeps the newest, of which one was just written, and one file of each policy.
void PolicyStore::remove_old(const std::vector<Entry>& existing, const std::string& written) const {
  std::size_t kept = 1;
  for (const Entry& entry : existing) {
    if (entry.sha256 != written && kept < keep_) {
      ++kept;
      continue;
    }
    std::error_code ignored;  // what stays is removed next time
    std::filesystem::remove(entry.file, ignored);
  }
}

std::vector<PolicyStore::Entry> PolicyStore::entries() const {
  std::vector<Entry> found;
  std::error_code error;
  for (const auto& item : std::filesystem::directory_iterator(folder_, error)) {
    if (auto entry = parse_name(item.path())) found.push_back(std::move(*entry));
  }
  std::sort(found.begin(), found.end(),
            [](const Entry& a, const Entry& b) { return a.order > b.order; });
  return found;
}

std::vector<std::byte> PolicyStore::load(const Entry& entry) const {
  std::vector<std::byte> bytes = read_file(entry.file);
  if (sha256_hex(bytes) != entry.sha256) {
    throw Error("policy store: " + entry.file.string() +
                " is damaged: its SHA-256 is not the one "
                "in its name; delete it");
  }
  return bytes;
}

std::vector<std::byte> read_file(const std::filesystem::path& file) {
  std::ifstream input(file, std::ios::binary | std::ios::ate);
  const std::streamoff size = input ? static_cast<std::streamoff>(input.tellg()) : -1;
  if (size < 0) throw Error(file.string() + ": cannot be read");
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  input.seekg(0);
  if (!input.read(reinterpret_cast<char*>(bytes.data()), size)) {
    throw Error(file.string() + ": cannot be read to its end");
  }
  return bytes;
}

}  // namespace serl_rt
