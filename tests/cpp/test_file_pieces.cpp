// That the kernel gets small pieces of large files: a megabyte in one call stops the control thread
// of an ordinary kernel for milliseconds.
#include "policy/file_pieces.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "app/mcap_writer.hpp"
#include "policy/policy_store.hpp"
#include "policy_support.hpp"

using namespace serl_rt;
using test::TemporaryFolder;

namespace {

constexpr std::uint64_t kLargestPiece = 64 * 1024;

const std::filesystem::path kCounts = "/proc/thread-self/io";  // some kernels do not count

struct Written {
  std::uint64_t bytes = 0;
  std::uint64_t calls = 0;
  std::uint64_t piece() const { return calls == 0 ? 0 : bytes / calls; }  // its mean size
};

// What this thread has written so far.
Written written() {
  std::ifstream file(kCounts);
  Written counts;
  std::string name;
  std::uint64_t value = 0;
  while (file >> name >> value) {
    if (name == "wchar:") counts.bytes = value;
    if (name == "syscw:") counts.calls = value;
  }
  return counts;
}

template <class Call>
Written written_by(const Call& call) {
  const Written before = written();
  call();
  const Written after = written();
  return {after.bytes - before.bytes, after.calls - before.calls};
}

std::vector<std::byte> some_bytes(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 37 + i / 251);
  return bytes;
}

}  // namespace

TEST_CASE("all bytes come into the file in their order, however many there are") {
  const TemporaryFolder folder;
  for (const std::size_t size : {0U, 1U, 65'536U, 65'537U, 1'048'576U, 3'000'001U}) {
    CAPTURE(size);
    const std::vector<std::byte> bytes = some_bytes(size);
    const auto file = folder.path() / std::to_string(size);
    const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(descriptor >= 0);
    CHECK(write_in_pieces(descriptor, bytes));
    CHECK(write_through_in_pieces(descriptor, bytes));
    close(descriptor);
    std::vector<std::byte> twice = bytes;
    twice.insert(twice.end(), bytes.begin(), bytes.end());
    CHECK(read_file(file) == twice);
  }
}

TEST_CASE("what cannot be written is told") {
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  REQUIRE(full >= 0);
  CHECK_FALSE(write_in_pieces(full, some_bytes(10)));
  CHECK(errno == ENOSPC);
  CHECK_FALSE(write_through_in_pieces(full, some_bytes(10)));
  close(full);
}

TEST_CASE("a policy is stored in small pieces") {
  if (!std::filesystem::exists(kCounts)) return;
  const TemporaryFolder folder;
  PolicyStore store(folder.path(), 3);
  const std::vector<std::byte> policy = some_bytes(4'000'000);
  const Written counts = written_by([&] { store.save(policy, 1, std::string(64, 'a')); });
  CHECK(counts.bytes >= policy.size());
  CHECK(counts.piece() <= kLargestPiece);
}

TEST_CASE("a recording is written in small pieces") {
  if (!std::filesystem::exists(kCounts)) return;
  const TemporaryFolder folder;
  const std::vector<std::uint8_t> message(4'000'000, 1);
  const Written counts = written_by([&] {
    McapWriter writer(folder.path() / "recording.mcap", "test");
    const std::uint16_t channel = writer.add_channel(writer.add_schema("s", "", ""), "t", "");
    writer.write(channel, 1, message);
  });
  CHECK(counts.bytes >= message.size());
  CHECK(counts.piece() <= kLargestPiece);
}
