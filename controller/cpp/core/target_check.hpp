// Decides whether a target may be followed. Pure functions for the 1 kHz thread.
#pragma once

#include <optional>

#include "core/fault.hpp"
#include "core/limits.hpp"
#include "core/target_filter.hpp"
#include "core/types.hpp"

namespace serl_rt {

struct Workspace {
  Vec3 low{-1.0, -1.0, -0.5};  // [m] base frame, tool centre point
  Vec3 high{1.0, 1.0, 1.3};
};

struct TargetSpeedLimits {
  double linear = 2.0;          // [m/s]
  double angular = 2.5;         // [rad/s]
  double joint_fraction = 0.8;  // of dq_max
};

inline constexpr double kWorkspaceTolerance = 1e-6;  // [m] rounding of float32 actions

// Joint positions against the limits less `margin` [rad].
std::optional<Refusal> check_joint_range(const Vec7& q, const RobotLimits& limits,
                                         double margin) noexcept;

// Finite, unit quaternion, inside the box, and not faster than allowed: the speed of a target is
// the largest speed that the filter's reference would have on its way from `reference` to it. A
// target outside the box is refused, not clipped: clipping is the action's business.
std::optional<Refusal> check_pose_target(const Pose& target, const Pose& reference,
                                         const Blend& blend, const Workspace& workspace,
                                         const TargetSpeedLimits& speed) noexcept;

// Finite, within the joint limits less `margin`, and not faster than allowed.
std::optional<Refusal> check_joint_target(const Vec7& target, const Vec7& reference,
                                          const Blend& blend, const RobotLimits& limits,
                                          double margin, const TargetSpeedLimits& speed) noexcept;

}  // namespace serl_rt
