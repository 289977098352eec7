// A value that one thread publishes and any number of threads read: a sequence lock.
// The writer is wait-free; a reader that meets a write in progress copies again.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/mailbox.hpp"

namespace serl_rt {

template <class T>
class Seqlock {
  static_assert(std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

 public:
  Seqlock() noexcept { store(T{}); }

  // Writer only.
  void store(const T& value) noexcept {
    std::array<std::uint64_t, kWords> words{};
    std::memcpy(words.data(), &value, sizeof(T));
    const std::uint64_t sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence + 1, std::memory_order_relaxed);  // odd: being written
    // Release on each word: whoever reads it also sees the odd number before it.
    for (std::size_t i = 0; i < kWords; ++i) {
      words_[i].store(words[i], std::memory_order_release);
    }
    sequence_.store(sequence + 2, std::memory_order_release);
  }

  // Any thread but a real-time one: may repeat while the writer writes.
  T load() const noexcept {
    std::array<std::uint64_t, kWords> words{};
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    do {
      before = sequence_.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < kWords; ++i) {
        words[i] = words_[i].load(std::memory_order_acquire);
      }
      after = sequence_.load(std::memory_order_relaxed);
    } while (before != after || (before & 1U) != 0);
    T value;
    std::memcpy(static_cast<void*>(&value), words.data(), sizeof(T));
    return value;
  }

 private:
  static constexpr std::size_t kWords = (sizeof(T) + 7) / 8;

  alignas(kCacheLine) std::atomic<std::uint64_t> sequence_ = 0;
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

}  // namespace serl_rt
