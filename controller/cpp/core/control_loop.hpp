// Drives the controller with a robot: read -> tick -> write, and keeps the time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/controller.hpp"
#include "core/histogram.hpp"
#include "core/mailbox.hpp"
#include "core/types.hpp"
#include "drivers/driver.hpp"

namespace serl_rt {

struct LoopTiming {
  HistogramSnapshot compute;  // [ns] of Controller::tick
  HistogramSnapshot period;   // [ns] from one sample to the next; empty outside run()
  std::uint64_t ticks = 0;
  std::uint64_t late_ticks = 0;  // period above kLatePeriod; also counted as Fault::kMissedTick
};

// Lockstep calls step(); real time calls run() on a thread of its own. One thread at a time.
class ControlLoop {
 public:
  // A tick that begins more than two periods after the one before has missed a whole one.
  static constexpr std::chrono::nanoseconds kLatePeriod{2 * kTickNs};

  // Both must outlive the loop.
  ControlLoop(RobotDriver& driver, Controller& controller) noexcept
      : driver_(driver), controller_(controller) {}

  // One tick. The first one (and the first after restart()) starts the controller at the state it
  // reads. False: the driver is gone; counted as Fault::kDriverLost.
  bool step() noexcept;

  // Ticks until `stop` is set, or `pause` where there is one; the driver's read() sets the pace.
  // Then it brakes the arm and returns when it is at rest, half a second later at most. False: the
  // driver is gone.
  bool run(const std::atomic<bool>& stop, const std::atomic<bool>* pause = nullptr) noexcept;

  // Same thread: whether the last state was of an arm at rest.
  bool at_rest() const noexcept;

  // Same thread as step(): the next tick starts the controller anew, e.g. after the arm was placed.
  void restart() noexcept { started_ = false; }

  // The state of each tick, each for one reader: the policy thread, and who tells others.
  Mailbox<State>& states() noexcept { return states_; }
  Mailbox<State>& observed() noexcept { return observed_; }

  // The state of the last tick. Same thread as step().
  const State& state() const noexcept { return state_; }

  // Any thread.
  LoopTiming timing() const noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  void keep_time(Clock::time_point previous) noexcept;

  RobotDriver& driver_;
  Controller& controller_;
  State state_;
  bool started_ = false;
  Clock::time_point sampled_;  // when the last state was read
  TickTiming timing_;          // of the tick that runs, for its record
  Mailbox<State> states_;
  Mailbox<State> observed_;
  Histogram compute_;
  Histogram period_;
  std::atomic<std::uint64_t> ticks_ = 0;
  std::atomic<std::uint64_t> late_ticks_ = 0;
};

}  // namespace serl_rt
