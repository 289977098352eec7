// Bounded queue between two threads: single producer, single consumer, wait-free.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "core/mailbox.hpp"

namespace serl_rt {

// Holds up to N values; N is a power of two. Nothing is overwritten: a full ring refuses.
template <class T, std::size_t N>
class Ring {
  static_assert(N >= 2 && (N & (N - 1)) == 0, "the capacity must be a power of two");
  static_assert(std::atomic<std::size_t>::is_always_lock_free);

 public:
  static constexpr std::size_t capacity() noexcept { return N; }

  // Producer only. False: full.
  bool try_push(const T& value) noexcept {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - known_head_ == N) {
      known_head_ = head_.load(std::memory_order_acquire);
      if (tail - known_head_ == N) return false;
    }
    values_[tail & (N - 1)] = value;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Consumer only. False: empty.
  bool try_pop(T& value) noexcept {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    if (head == known_tail_) {
      known_tail_ = tail_.load(std::memory_order_acquire);
      if (head == known_tail_) return false;
    }
    value = values_[head & (N - 1)];
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

 private:
  // Positions count up for ever; each side keeps its last look at the other's position, so that
  // the other's cache line is touched only when the ring seems full or empty.
  alignas(kCacheLine) std::atomic<std::size_t> tail_ = 0;
  std::size_t known_head_ = 0;
  alignas(kCacheLine) std::atomic<std::size_t> head_ = 0;
  std::size_t known_tail_ = 0;
  alignas(kCacheLine) std::array<T, N> values_{};
};

}  // namespace serl_rt
