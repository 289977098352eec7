#include "core/control_loop.hpp"

#include <utility>

namespace serl_rt {
namespace {

constexpr int kBrakingTicks = 500;      // at most, after the stop
constexpr double kRestVelocity = 0.01;  // [rad/s]

std::int64_t nanoseconds(std::chrono::steady_clock::duration duration) noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
}

}  // namespace

bool ControlLoop::step() noexcept {
  if (!driver_.read(state_)) {
    controller_.faults().raise(Fault::kDriverLost);
    return false;
  }
  const Clock::time_point previous = std::exchange(sampled_, Clock::now());
  timing_.monotonic_ns = nanoseconds(sampled_.time_since_epoch());
  timing_.period_ns = started_ ? nanoseconds(sampled_ - previous) : 0;
  if (!started_) {
    controller_.start(state_);
    started_ = true;
  }
  const Vec7 tau = controller_.tick(state_, timing_);
  timing_.compute_ns = nanoseconds(Clock::now() - sampled_);
  compute_.record(timing_.compute_ns);
  ticks_.store(ticks_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);

  const bool written = driver_.write(tau);
  states_.write(state_);  // after the torque is on its way
  observed_.write(state_);
  if (!written) controller_.faults().raise(Fault::kDriverLost);
  return written;
}

bool ControlLoop::run(const std::atomic<bool>& stop, const std::atomic<bool>* pause) noexcept {
  restart();
  if (!step()) return false;
  int braking = 0;
  do {
    if (braking > 0 || stop.load(std::memory_order_acquire) ||
        (pause != nullptr && pause->load(std::memory_order_acquire))) {
      if (braking == 0) controller_.request_stop();
      ++braking;
    }
    const Clock::time_point previous = sampled_;
    if (!step()) return false;
    keep_time(previous);
  } while (braking == 0 || (braking < kBrakingTicks && !at_rest()));
  return true;
}

bool ControlLoop::at_rest() const noexcept {
  return state_.dq.cwiseAbs().maxCoeff() <= kRestVelocity;
}

void ControlLoop::keep_time(Clock::time_point previous) noexcept {
  const std::chrono::nanoseconds period = sampled_ - previous;
  period_.record(period.count());
  if (period <= kLatePeriod) return;
  late_ticks_.store(late_ticks_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  controller_.faults().raise(Fault::kMissedTick, 1e-9 * static_cast<double>(period.count()),
                             1e-9 * static_cast<double>(kLatePeriod.count()));
}

LoopTiming ControlLoop::timing() const noexcept {
  return {compute_.snapshot(), period_.snapshot(), ticks_.load(std::memory_order_relaxed),
          late_ticks_.load(std::memory_order_relaxed)};
}

}  // namespace serl_rt
