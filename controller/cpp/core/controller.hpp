// One tick of the controller: state -> target -> law -> limits -> torque.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "core/controller_config.hpp"
#include "core/fault.hpp"
#include "core/impedance.hpp"
#include "core/joint_move.hpp"
#include "core/limits.hpp"
#include "core/mailbox.hpp"
#include "core/seqlock.hpp"
#include "core/target_check.hpp"
#include "core/target_filter.hpp"
#include "core/tick_record.hpp"
#include "core/torque_fade.hpp"
#include "core/types.hpp"
#include "core/wrench.hpp"

namespace serl_rt {

// Where the controller stands after a tick: all of the same tick.
struct ControllerStatus {
  std::int64_t time_ns = 0;  // robot clock
  std::uint64_t ticks = 0;   // since construction
  Mode mode = Mode::kHold;
  bool stopped = false;  // only a hold, a joint move or hand guiding is accepted
  Source in_charge = Source::kPolicy;
  Fault last_refusal = Fault::kTargetInvalid;  // meaningful if refused_sequence > 0
  std::uint64_t target_sequence = 0;           // last accepted
  std::uint64_t refused_sequence = 0;          // last refused, with what was found:
  double refused_value = 0.0;
  double refused_limit = 0.0;
  std::uint64_t move_done_sequence = 0;  // last joint move that has arrived
  std::uint64_t policy_version = 0;      // of the target being followed
  std::uint64_t records_dropped = 0;     // the record ring was full
  std::array<double, 7> reference{};     // [m, quaternion xyzw] what the law follows
};

// Not copyable: other threads hold on to its mailboxes.
class Controller {
 public:
  // Throws Error with validate()'s words.
  explicit Controller(const ControllerConfig& config);
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Control thread: begins at the measured state, in hold. Also after the arm was placed elsewhere.
  // Ends a stop. The first tick takes a target that was written before; gains are those last set,
  // without a ramp.
  void start(const State& state) noexcept;

  // Control thread, once per millisecond: torque [Nm] without gravity. `timing` is only recorded.
  // No locks, no allocation, no throw, no system call.
  Vec7 tick(const State& state, const TickTiming& timing = {}) noexcept;

  // Control thread, before the first tick: where each tick is recorded; null: nowhere.
  void set_record_ring(RecordRing* ring) noexcept { records_ = ring; }

  // One writer thread each. Targets and gains are checked by the tick that takes them over.
  Mailbox<Target>& targets() noexcept { return targets_; }                    // a policy's
  Mailbox<Target>& operator_targets() noexcept { return operator_targets_; }  // a person's program
  Mailbox<CartesianGains>& gains() noexcept { return gains_; }

  // Any thread: whose targets are followed from now on; the other's are refused.
  void set_in_charge(Source source) noexcept {
    in_charge_.store(source, std::memory_order_release);
  }
  Source in_charge() const noexcept { return in_charge_.load(std::memory_order_acquire); }

  // Any thread: brakes, holds, and refuses policy targets until a hold, a joint move or hand
  // guiding is asked for.
  void request_stop() noexcept { stop_requested_.store(true, std::memory_order_release); }

  // Any thread.
  ControllerStatus status() const noexcept { return published_.load(); }
  FaultCounters& faults() noexcept { return counters_; }
  const FaultCounters& faults() const noexcept { return counters_; }
  const ControllerConfig& config() const noexcept { return config_; }

 private:
  void take_gains(TickFaults& faults) noexcept;
  void take_targets(const State& state, TickFaults& faults) noexcept;
  void take_target(const Target& target, Source source, const State& state,
                   TickFaults& faults) noexcept;
  std::optional<Refusal> accept(const Target& target, const State& state) noexcept;
  std::optional<Refusal> follow_pose(const Target& target, const State& state) noexcept;
  std::optional<Refusal> follow_joints(const Target& target, const State& state) noexcept;
  std::optional<Refusal> push(const Target& target, const State& state) noexcept;
  std::optional<Refusal> begin_move(const Target& target, const State& state) noexcept;
  void watch(const State& state, TickFaults& faults) noexcept;
  void hold() noexcept;
  void stop() noexcept;
  Vec7 law(const State& state) noexcept;
  Vec7 smoothed(const Vec7& tau_law) noexcept;
  Vec7 hold_law(const State& state) noexcept;
  Vec7 move_law(const State& state) noexcept;
  Vec7 joint_reference(const State& state) const noexcept;
  void publish(const State& state, const TickTiming& timing, const Vec7& tau_law, const Vec7& tau,
               FaultSet faults) noexcept;

  const ControllerConfig config_;

  Mailbox<Target> targets_;
  Mailbox<Target> operator_targets_;
  Mailbox<CartesianGains> gains_;
  std::atomic<bool> stop_requested_ = false;
  std::atomic<Source> in_charge_ = Source::kPolicy;
  FaultCounters counters_;
  Seqlock<ControllerStatus> published_;
  RecordRing* records_ = nullptr;

  // Below: control thread only.
  bool started_ = false;
  ControllerStatus status_;
  Target target_;  // being followed
  PoseFilter pose_filter_;
  JointFilter joint_filter_;
  GainFilter gain_filter_;
  CartesianGains newest_gains_;
  ErrorIntegral integral_;
  WrenchLaw wrench_;
  JointMove move_;
  double move_time_s_ = 0.0;
  Vec7 hold_q_ = Vec7::Zero();
  int braking_ticks_ = 0;  // hold_q_ still follows the arm
  Vec7 posture_ = Vec7::Zero();
  JointGuard guard_;
  Mode law_mode_ = Mode::kHold;  // of the last tick
  TorqueFade fade_;
  TorqueLimiter limiter_;
};

}  // namespace serl_rt
