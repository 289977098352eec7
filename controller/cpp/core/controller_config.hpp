// What can be set of the controller, and what of it is allowed.
#pragma once

#include <optional>
#include <string>

#include "core/impedance.hpp"
#include "core/limits.hpp"
#include "core/target_check.hpp"
#include "core/target_filter.hpp"
#include "core/types.hpp"
#include "core/wrench.hpp"

namespace serl_rt {

struct ControllerConfig {
  CartesianGains gains;
  JointGains joint_gains;
  Vec7 guiding_damping{1.0, 1.0, 1.0, 1.0, 0.3, 0.3, 0.3};  // [Nm s/rad] kGravityCompensation
  double gains_time_constant_s = 0.2;                       // [s] SERL's filter of the gains
  TargetFilterConfig filter;
  RobotLimits limits = fr3_limits();
  JointWall wall;
  VelocityWall velocity_wall;
  JointStop stop;
  Workspace workspace;
  TargetSpeedLimits speed;
  WrenchConfig wrench;
  double mode_fade_s = 0.06;     // [s] in which the torque of the mode before fades out
  double move_fraction = 0.5;    // of dq_max and ddq_max, for kJointMove
  double move_tolerance = 0.02;  // [rad] a move is done when each joint is this close,
  double move_settle_s = 1.0;    // [s] or at the latest this long after the reference arrived
  // [rad] posture of the redundant joint. Unset: q at start(), or the last joint move's goal.
  std::optional<Vec7> nullspace_posture;
};

// Empty, or the first thing that is wrong: name, value, what is allowed.
std::string validate(const ControllerConfig& config);

}  // namespace serl_rt
