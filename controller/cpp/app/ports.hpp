// The two pacings of the policy side: simulated time (the policy thread runs the ticks itself) and
// wall clock (the control thread ticks, the policy thread sleeps).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "app/robot_connection.hpp"
#include "core/control_loop.hpp"
#include "core/controller.hpp"
#include "policy/control_port.hpp"

namespace serl_rt {

class LockstepPort : public ControlPort {
 public:
  LockstepPort(ControlLoop& loop, Controller& controller, Gripper& gripper, double policy_rate_hz,
               const std::atomic<bool>& stop) noexcept;

  const State& state() noexcept override { return loop_.state(); }
  void set_target(Target target) noexcept override;
  bool advance() noexcept override;
  bool go_to_start(const Vec7& q, double duration_s) noexcept override;
  bool stopped() const noexcept override { return controller_.status().stopped; }
  bool ready() const noexcept override { return true; }
  Gripper& gripper() noexcept override { return gripper_; }

 private:
  ControlLoop& loop_;
  Controller& controller_;
  Gripper& gripper_;
  const std::atomic<bool>& stop_;
  int ticks_per_period_;
  std::uint64_t sequence_ = 0;
};

class RealtimePort : public ControlPort {
 public:
  // `halted`: an operator's stop; while it is set, the arm does not go to an episode's start.
  RealtimePort(const RobotConnection& connection, ControlLoop& loop, Controller& controller,
               Gripper& gripper, double policy_rate_hz, const std::atomic<bool>& stop,
               const std::atomic<bool>& halted) noexcept;

  const State& state() noexcept override;
  void set_target(Target target) noexcept override;
  // Sleeps until the next policy instant. After a late step the instants begin anew, so that every
  // action gets its whole period.
  bool advance() noexcept override;
  bool go_to_start(const Vec7& q, double duration_s) noexcept override;
  bool stopped() const noexcept override { return !ready() || controller_.status().stopped; }
  bool ready() const noexcept override { return connection_.present(); }
  Gripper& gripper() noexcept override { return gripper_; }

  // Policy instants that had passed before the policy was ready for them.
  std::uint64_t late_steps() const noexcept { return late_steps_.load(std::memory_order_relaxed); }

 private:
  const RobotConnection& connection_;
  ControlLoop& loop_;
  Controller& controller_;
  Gripper& gripper_;
  const std::atomic<bool>& stop_;
  const std::atomic<bool>& halted_;
  std::chrono::nanoseconds period_;
  std::chrono::steady_clock::time_point next_;
  State state_;
  std::uint64_t sequence_ = 0;
  std::atomic<std::uint64_t> late_steps_ = 0;
};

}  // namespace serl_rt
