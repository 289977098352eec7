// The robot's clock as the controller needs it: nanoseconds that never go back.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/types.hpp"

namespace serl_rt {

// A robot that was restarted counts its time from zero; a deadline from before must not come to
// life again. Between two starts, the wall clock fills the gap.
class RobotClock {
 public:
  // Control thread, before the first sample of a connection.
  void restart() noexcept { begun_ = false; }

  // Control thread, each sample: the robot's time [ms] -> ns since the first sample of all.
  std::int64_t sample(std::uint64_t robot_ms) noexcept {
    const auto wall = std::chrono::steady_clock::now();
    if (!begun_) {
      if (ever_) time_ns_ += std::chrono::nanoseconds(wall - wall_).count();
      begun_ = ever_ = true;
    } else if (robot_ms > robot_ms_) {
      const std::uint64_t cycles = robot_ms - robot_ms_;
      time_ns_ += static_cast<std::int64_t>(cycles) * kTickNs;
      if (cycles > 1) lost_.fetch_add(cycles - 1, std::memory_order_relaxed);
    }
    robot_ms_ = robot_ms;
    wall_ = wall;
    return time_ns_;
  }

  // Samples that were missed, all connections together. Any thread.
  std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
  bool begun_ = false;
  bool ever_ = false;
  std::uint64_t robot_ms_ = 0;
  std::int64_t time_ns_ = 0;
  std::chrono::steady_clock::time_point wall_;
  std::atomic<std::uint64_t> lost_ = 0;
};

}  // namespace serl_rt
