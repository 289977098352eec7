// Newest-value hand-over between two threads: a triple buffer. Both sides are wait-free.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace serl_rt {

inline constexpr std::size_t kCacheLine = 64;  // [bytes] keeps two threads' variables apart

// One thread writes, one thread reads. The reader sees the newest complete value; values in
// between are lost on purpose. T needs a default constructor and an assignment that cannot throw.
template <class T>
class Mailbox {
 public:
  // Writer only.
  void write(const T& value) noexcept {
    slots_[back_].value = value;
    back_ = middle_.exchange(back_ | kFresh, std::memory_order_acq_rel) & kIndex;
  }

  // Reader only. True, and `value` set, when something was written since the last read.
  bool read(T& value) noexcept {
    if ((middle_.load(std::memory_order_relaxed) & kFresh) == 0) return false;
    front_ = middle_.exchange(front_, std::memory_order_acq_rel) & kIndex;
    value = slots_[front_].value;
    return true;
  }

 private:
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
  static constexpr std::uint32_t kFresh = 4;  // the middle slot was not read yet
  static constexpr std::uint32_t kIndex = 3;

  struct alignas(kCacheLine) Slot {
    T value{};
  };

  std::array<Slot, 3> slots_{};
  alignas(kCacheLine) std::uint32_t back_ = 0;                 // the writer's slot
  alignas(kCacheLine) std::atomic<std::uint32_t> middle_ = 1;  // changes hands
  alignas(kCacheLine) std::uint32_t front_ = 2;                // the reader's slot
};

}  // namespace serl_rt
