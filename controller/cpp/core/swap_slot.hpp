// Hands a heap object (a policy) to a real-time thread, and takes the replaced one back, so that
// the real-time thread neither allocates nor frees. Both sides are wait-free.
#pragma once

#include <atomic>
#include <memory>

#include "core/mailbox.hpp"

namespace serl_rt {

// One writer (a loader thread), one reader (the thread that uses the object).
// std::atomic<std::shared_ptr> is not used: it is not lock-free in libstdc++, and its last owner
// frees the object on whichever thread that is.
template <class T>
class SwapSlot {
 public:
  SwapSlot() = default;
  SwapSlot(const SwapSlot&) = delete;
  SwapSlot& operator=(const SwapSlot&) = delete;

  // Both threads must have stopped.
  ~SwapSlot() {
    delete next_.load(std::memory_order_acquire);
    delete retired_.load(std::memory_order_acquire);
    delete current_;
  }

  // Writer only: the reader takes `object` at its next take(). An offer that was not taken yet
  // is replaced and freed.
  void offer(std::unique_ptr<T> object) noexcept {
    delete next_.exchange(object.release(), std::memory_order_acq_rel);
    collect();
  }

  // Writer only: frees the object that the reader has replaced. Until this is called (offer() does,
  // too) the reader does not take another one, so call it now and then.
  void collect() noexcept { delete retired_.exchange(nullptr, std::memory_order_acq_rel); }

  // Writer only: the last offer was taken.
  bool taken() const noexcept { return next_.load(std::memory_order_acquire) == nullptr; }

  // Reader only: takes the offered object, if there is one. True: current() has changed.
  bool take() noexcept {
    if (next_.load(std::memory_order_relaxed) == nullptr) return false;
    if (retired_.load(std::memory_order_acquire) != nullptr) return false;
    T* next = next_.exchange(nullptr, std::memory_order_acq_rel);
    if (next == nullptr) return false;
    retired_.store(current_, std::memory_order_release);
    current_ = next;
    return true;
  }

  // Reader only: the object in use; null before the first take().
  T* current() const noexcept { return current_; }

 private:
  static_assert(std::atomic<T*>::is_always_lock_free);

  alignas(kCacheLine) std::atomic<T*> next_ = nullptr;
  alignas(kCacheLine) std::atomic<T*> retired_ = nullptr;
  alignas(kCacheLine) T* current_ = nullptr;
};

}  // namespace serl_rt
