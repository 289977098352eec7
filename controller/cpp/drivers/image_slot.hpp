// Newest-value hand-over of images between two threads: a triple buffer whose writer fills the
// image in place and whose reader copies it once. Both sides are wait-free.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/mailbox.hpp"

namespace serl_rt {

class ImageSlot {
 public:
  explicit ImageSlot(std::size_t bytes) {
    for (Buffer& buffer : buffers_) buffer.image.resize(bytes);
  }

  // Writer only: the buffer to fill. Nobody else sees it before publish().
  std::span<std::byte> back() noexcept { return buffers_[back_].image; }

  // Writer only: makes what is in back() the newest image, taken at `time_ns` (any clock, the same
  // for both sides).
  void publish(std::int64_t time_ns) noexcept {
    buffers_[back_].time_ns = time_ns;
    back_ = middle_.exchange(back_ | kFresh, std::memory_order_acq_rel) & kIndex;
  }

  // Reader only: copies the newest image, `out` of its size, and returns when it was taken; nothing
  // before the first.
  std::optional<std::int64_t> read(std::span<std::byte> out) noexcept {
    if ((middle_.load(std::memory_order_relaxed) & kFresh) != 0) {
      front_ = middle_.exchange(front_, std::memory_order_acq_rel) & kIndex;
      filled_ = true;
    }
    if (!filled_) return std::nullopt;
    std::copy(buffers_[front_].image.begin(), buffers_[front_].image.end(), out.begin());
    return buffers_[front_].time_ns;
  }

 private:
  static constexpr std::uint32_t kFresh = 4;  // the middle buffer was not read yet
  static constexpr std::uint32_t kIndex = 3;

  struct alignas(kCacheLine) Buffer {
    std::vector<std::byte> image;
    std::int64_t time_ns = 0;
  };

  std::array<Buffer, 3> buffers_;
  alignas(kCacheLine) std::uint32_t back_ = 0;                 // the writer's
  alignas(kCacheLine) std::atomic<std::uint32_t> middle_ = 1;  // changes hands
  alignas(kCacheLine) std::uint32_t front_ = 2;                // the reader's
  bool filled_ = false;
};

}  // namespace serl_rt
