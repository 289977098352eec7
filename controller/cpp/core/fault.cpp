#include "core/fault.hpp"

namespace serl_rt {

std::string_view to_string(Fault fault) noexcept {
  switch (fault) {
    case Fault::kTargetInvalid:
      return "target_invalid";
    case Fault::kTargetOutsideWorkspace:
      return "target_outside_workspace";
    case Fault::kTargetOutsideJointLimits:
      return "target_outside_joint_limits";
    case Fault::kTargetTooFast:
      return "target_too_fast";
    case Fault::kTargetWhileStopped:
      return "target_while_stopped";
    case Fault::kTargetNotInCharge:
      return "target_not_in_charge";
    case Fault::kMoveTooFast:
      return "move_too_fast";
    case Fault::kGainsOutOfRange:
      return "gains_out_of_range";
    case Fault::kTargetStale:
      return "target_stale";
    case Fault::kStopRequested:
      return "stop_requested";
    case Fault::kJointPositionLimit:
      return "joint_position_limit";
    case Fault::kJointVelocityLimit:
      return "joint_velocity_limit";
    case Fault::kStateNonFinite:
      return "state_non_finite";
    case Fault::kTorqueNonFinite:
      return "torque_non_finite";
    case Fault::kTorqueClamped:
      return "torque_clamped";
    case Fault::kTorqueRateLimited:
      return "torque_rate_limited";
    case Fault::kPolicyNonFinite:
      return "policy_non_finite";
    case Fault::kPolicyOutOfRange:
      return "policy_out_of_range";
    case Fault::kPolicyLate:
      return "policy_late";
    case Fault::kImageStale:
      return "image_stale";
    case Fault::kDriverLost:
      return "driver_lost";
    case Fault::kMissedTick:
      return "missed_tick";
  }
  return "unknown";
}

FaultSnapshot FaultCounters::snapshot() const noexcept {
  FaultSnapshot snapshot;
  for (std::size_t i = 0; i < kFaults; ++i) {
    snapshot[i].count = entries_[i].count.load(std::memory_order_relaxed);
    snapshot[i].value = entries_[i].value.load(std::memory_order_relaxed);
    snapshot[i].limit = entries_[i].limit.load(std::memory_order_relaxed);
  }
  return snapshot;
}

}  // namespace serl_rt
