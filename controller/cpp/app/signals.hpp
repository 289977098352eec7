// SIGINT and SIGTERM as something to wait for, instead of handlers that interrupt.
#pragma once

#include <signal.h>

#include <atomic>
#include <chrono>

namespace serl_rt {

// While it lives, wait() receives the two signals, and neither ends the program, whichever thread
// the system gives it to: threads started meanwhile do not take them, and one that was there before
// (Python's numerical libraries start some) notes them for wait(). One at a time in a process; make
// it before anything that starts a thread. At the end it forgets what nobody waited for, and
// restores what was before.
class SignalGuard {
 public:
  SignalGuard() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, &previous_);
    struct sigaction note{};
    note.sa_handler = [](int) { noted_.fetch_add(1, std::memory_order_relaxed); };
    note.sa_flags = SA_RESTART;
    sigaction(SIGINT, &note, &previous_interrupt_);
    sigaction(SIGTERM, &note, &previous_terminate_);
  }
  ~SignalGuard() {
    while (wait(std::chrono::milliseconds(0))) continue;
    sigaction(SIGINT, &previous_interrupt_, nullptr);
    sigaction(SIGTERM, &previous_terminate_, nullptr);
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  // True when one of them arrived within the time; one that another thread has taken may be seen
  // only at its end.
  bool wait(std::chrono::milliseconds patience) const {
    const timespec time{patience.count() / 1000, (patience.count() % 1000) * 1'000'000};
    if (take_noted() || sigtimedwait(&signals_, nullptr, &time) > 0) return true;
    return take_noted();
  }

 private:
  static bool take_noted() {
    int noted = noted_.load(std::memory_order_relaxed);
    while (noted > 0) {
      if (noted_.compare_exchange_weak(noted, noted - 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  // A signal handler reaches nothing but what is global.
  static inline std::atomic<int> noted_ = 0;
  static_assert(std::atomic<int>::is_always_lock_free);

  sigset_t signals_{};
  sigset_t previous_{};
  struct sigaction previous_interrupt_{};
  struct sigaction previous_terminate_{};
};

}  // namespace serl_rt
