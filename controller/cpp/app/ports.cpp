#include "app/ports.hpp"

#include <cmath>
#include <thread>

namespace serl_rt {
namespace {

// How much longer than planned a move to the start may take; then the episode begins where the arm
// is, and the status says why the move was refused or did not arrive.
constexpr std::chrono::seconds kMovePatience{2};

}  // namespace

LockstepPort::LockstepPort(ControlLoop& loop, Controller& controller, Gripper& gripper,
                           double policy_rate_hz, const std::atomic<bool>& stop) noexcept
    : loop_(loop),
      controller_(controller),
      gripper_(gripper),
      stop_(stop),
      ticks_per_period_(static_cast<int>(std::lround(1.0 / (policy_rate_hz * kTickSeconds)))) {}

void LockstepPort::set_target(Target target) noexcept {
  target.sequence = ++sequence_;
  controller_.targets().write(target);
}

bool LockstepPort::advance() noexcept {
  for (int i = 0; i < ticks_per_period_; ++i) {
    if (!loop_.step()) return false;
  }
  return !stop_.load(std::memory_order_relaxed);
}

bool LockstepPort::go_to_start(const Vec7&, double) noexcept {
  loop_.restart();  // the task has placed the arm: begin there, in hold
  return advance();
}

RealtimePort::RealtimePort(const RobotConnection& connection, ControlLoop& loop,
                           Controller& controller, Gripper& gripper, double policy_rate_hz,
                           const std::atomic<bool>& stop, const std::atomic<bool>& halted) noexcept
    : connection_(connection),
      loop_(loop),
      controller_(controller),
      gripper_(gripper),
      stop_(stop),
      halted_(halted),
      period_(static_cast<std::int64_t>(std::llround(1e9 / policy_rate_hz))),
      next_(std::chrono::steady_clock::now()) {}

const State& RealtimePort::state() noexcept {
  loop_.states().read(state_);
  return state_;
}

void RealtimePort::set_target(Target target) noexcept {
  target.sequence = ++sequence_;
  controller_.targets().write(target);
}

bool RealtimePort::advance() noexcept {
  next_ += period_;
  const auto now = std::chrono::steady_clock::now();
  if (now > next_) {
    late_steps_.fetch_add(1, std::memory_order_relaxed);
    next_ = now + period_;
  }
  std::this_thread::sleep_until(next_);
  return !stop_.load(std::memory_order_relaxed);
}

bool RealtimePort::go_to_start(const Vec7& q, double duration_s) noexcept {
  next_ = std::chrono::steady_clock::now();
  if (halted_ || !ready()) return advance();
  Target home;
  home.mode = Mode::kJointMove;
  home.q = q;
  home.duration_s = duration_s;
  set_target(home);
  const auto begin = std::chrono::steady_clock::now();
  const auto patience = std::chrono::duration<double>(duration_s) + kMovePatience;
  while (std::chrono::steady_clock::now() - begin < patience) {
    // A joint move ends a stop; one that was asked for while this one began must not be lost.
    if (halted_) controller_.request_stop();
    if (!advance()) return false;
    if (!ready()) break;
    const ControllerStatus status = controller_.status();
    if (status.move_done_sequence == sequence_) break;
    if (status.stopped && status.target_sequence == sequence_) break;
  }
  return true;
}

}  // namespace serl_rt
