// SIGINT and SIGTERM as something to wait for, instead of handlers that interrupt.
#pragma once

#include <signal.h>

#include <chrono>

namespace serl_rt {

// While it lives, threads that are started inherit a mask without the two signals, and wait()
// receives them: make it before anything that starts a thread. At the end it forgets those that
// nobody waited for, and restores the mask of the calling thread.
class SignalGuard {
 public:
  SignalGuard() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, &previous_);
  }
  ~SignalGuard() {
    while (wait(std::chrono::milliseconds(0))) continue;
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  // True when one of them arrived within the time.
  bool wait(std::chrono::milliseconds patience) const {
    const timespec time{patience.count() / 1000, (patience.count() % 1000) * 1'000'000};
    return sigtimedwait(&signals_, nullptr, &time) > 0;
  }

 private:
  sigset_t signals_{};
  sigset_t previous_{};
};

}  // namespace serl_rt
