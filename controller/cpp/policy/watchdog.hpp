// Ends a model's trial runs that never come back, e.g. a loop in the graph without an end.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace serl_rt {

// For all trial runs of a model together, by the wall clock.
inline constexpr std::chrono::milliseconds kTrialPatience{2000};

// Watches from its construction until stop(). The model must outlive it.
class Watchdog {
 public:
  template <typename Model>  // has terminate(), for any thread
  Watchdog(Model& model, std::chrono::milliseconds patience)
      : thread_([this, &model, patience] {
          std::unique_lock lock(mutex_);
          if (stopped_.wait_for(lock, patience, [this] { return stop_; })) return;
          expired_ = true;
          model.terminate();
        }) {}

  ~Watchdog() { stop(); }

  // True: the model was terminated, now or before.
  bool stop() {
    {
      const std::scoped_lock lock(mutex_);
      stop_ = true;
    }
    stopped_.notify_one();
    if (thread_.joinable()) thread_.join();
    return expired_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  bool expired_ = false;
  std::thread thread_;  // last: starts when the rest exists
};

}  // namespace serl_rt
