// Buffers for the images of transitions on their way from the policy thread to the link's. The
// policy thread takes a buffer and fills it, the link's thread gives it back. Wait-free on both
// sides.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/ring.hpp"

namespace serl_rt {

class ImagePool {
 public:
  using Index = std::uint16_t;

  // Buffers of `size` bytes; none for 0.
  explicit ImagePool(std::size_t size) : buffers_(size == 0 ? 0 : count_for(size)) {
    for (std::size_t i = 0; i < buffers_.size(); ++i) {
      buffers_[i].resize(size);
      free_.try_push(static_cast<Index>(i));
    }
  }

  std::span<std::byte> operator[](Index index) noexcept { return buffers_[index]; }

  // Policy thread. False: fewer than `count` are free.
  bool has(std::size_t count) const noexcept {
    return buffers_.size() - (taken_ - returned_.load(std::memory_order_acquire)) >= count;
  }
  std::optional<Index> take() noexcept {
    Index index = 0;
    if (!free_.try_pop(index)) return std::nullopt;
    ++taken_;
    return index;
  }

  // The link's thread.
  void give_back(Index index) noexcept {
    free_.try_push(index);  // there is room for all of them
    returned_.fetch_add(1, std::memory_order_release);
  }

 private:
  static constexpr std::size_t kMost = 256;
  static constexpr std::size_t kFewest = 4;  // two transitions that start anew
  static constexpr std::size_t kBudget = std::size_t{16} * 1024 * 1024;

  static std::size_t count_for(std::size_t size) noexcept {
    return std::clamp(kBudget / size, kFewest, kMost);
  }

  std::vector<std::vector<std::byte>> buffers_;
  Ring<Index, kMost> free_;
  std::size_t taken_ = 0;  // the policy thread's
  std::atomic<std::size_t> returned_ = 0;
};

}  // namespace serl_rt
