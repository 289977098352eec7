#include "policy/file_pieces.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace serl_rt {
namespace {

constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kWaiting = 1024 * 1024;

}  // namespace

bool write_in_pieces(int descriptor, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), std::min(bytes.size(), kPiece));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      if (written == 0) errno = ENOSPC;
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

bool write_through_in_pieces(int descriptor, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const std::span<const std::byte> next = bytes.first(std::min(bytes.size(), kWaiting));
    if (!write_in_pieces(descriptor, next)) return false;
    // Where the file system cannot do it, the sync at the end does all; it also reports errors.
    (void)sync_file_range(
        descriptor, 0, 0,
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    bytes = bytes.subspan(next.size());
  }
  return true;
}

}  // namespace serl_rt
