#include "core/target_check.hpp"

#include <cmath>

namespace serl_rt {
namespace {

constexpr double kUnitTolerance = 1e-3;  // of a quaternion's length: float32 is far better

std::optional<Refusal> check_box(const Vec3& position, const Workspace& workspace) noexcept {
  for (int i = 0; i < 3; ++i) {
    if (position[i] < workspace.low[i] - kWorkspaceTolerance) {
      return Refusal{Fault::kTargetOutsideWorkspace, position[i], workspace.low[i]};
    }
    if (position[i] > workspace.high[i] + kWorkspaceTolerance) {
      return Refusal{Fault::kTargetOutsideWorkspace, position[i], workspace.high[i]};
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> check_joint_range(const Vec7& q, const RobotLimits& limits,
                                         double margin) noexcept {
  for (int i = 0; i < kJoints; ++i) {
    const double low = limits.q_min[i] + margin;
    const double high = limits.q_max[i] - margin;
    if (q[i] < low) return Refusal{Fault::kTargetOutsideJointLimits, q[i], low};
    if (q[i] > high) return Refusal{Fault::kTargetOutsideJointLimits, q[i], high};
  }
  return std::nullopt;
}

std::optional<Refusal> check_pose_target(const Pose& target, const Pose& reference,
                                         const Blend& blend, const Workspace& workspace,
                                         const TargetSpeedLimits& speed) noexcept {
  const double norm = target.orientation.norm();
  if (!target.position.allFinite() || !(std::abs(norm - 1.0) <= kUnitTolerance)) {
    return Refusal{Fault::kTargetInvalid, norm, 1.0};
  }
  if (const auto refusal = check_box(target.position, workspace)) return refusal;

  const double linear = blend.peak_speed((target.position - reference.position).norm());
  if (linear > speed.linear) return Refusal{Fault::kTargetTooFast, linear, speed.linear};
  const double angle = reference.orientation.angularDistance(target.orientation);
  const double angular = blend.peak_speed(angle);
  if (angular > speed.angular) return Refusal{Fault::kTargetTooFast, angular, speed.angular};
  return std::nullopt;
}

std::optional<Refusal> check_joint_target(const Vec7& target, const Vec7& reference,
                                          const Blend& blend, const RobotLimits& limits,
                                          double margin, const TargetSpeedLimits& speed) noexcept {
  if (!target.allFinite()) return Refusal{Fault::kTargetInvalid};
  if (const auto refusal = check_joint_range(target, limits, margin)) return refusal;
  for (int i = 0; i < kJoints; ++i) {
    const double velocity = blend.peak_speed(std::abs(target[i] - reference[i]));
    const double allowed = speed.joint_fraction * limits.dq_max[i];
    if (velocity > allowed) return Refusal{Fault::kTargetTooFast, velocity, allowed};
  }
  return std::nullopt;
}

}  // namespace serl_rt
