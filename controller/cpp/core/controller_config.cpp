#include "core/controller_config.hpp"

namespace serl_rt {
namespace {

std::string require(bool ok, const char* what) { return ok ? std::string() : std::string(what); }

}  // namespace

std::string validate(const ControllerConfig& config) {
  const Workspace& box = config.workspace;
  const TargetSpeedLimits& speed = config.speed;
  const Vec7& guiding = config.guiding_damping;
  for (const std::string& problem : {
           validate(config.gains),
           validate(config.joint_gains),
           validate(config.filter),
           validate(config.limits),
           validate(config.wall),
           validate(config.velocity_wall),
           validate(config.stop),
           validate(config.wrench),
           require(box.low.allFinite() && box.high.allFinite() &&
                       (box.low.array() < box.high.array()).all(),
                   "workspace low is not below high on every axis"),
           require(speed.linear > 0.0 && speed.angular > 0.0 && speed.joint_fraction > 0.0 &&
                       speed.joint_fraction <= 1.0,
                   "target speed limits must be positive, joint_fraction at most 1"),
           require((guiding.array() >= 0.0).all() && (guiding.array() <= 50.0).all(),
                   "guiding_damping is outside [0, 50] Nm s/rad"),
           require(config.gains_time_constant_s >= 0.0 && config.gains_time_constant_s <= 10.0,
                   "gains_time_constant_s is outside [0, 10] s"),
           require(config.mode_fade_s >= 0.0 && config.mode_fade_s <= 0.2,
                   "mode_fade_s is outside [0, 0.2] s"),
           require(config.move_fraction > 0.0 && config.move_fraction <= 1.0,
                   "move_fraction is outside (0, 1]"),
           require(config.move_tolerance > 0.0, "move_tolerance is not positive"),
           require(config.move_settle_s >= 0.0, "move_settle_s is negative"),
           require(!config.nullspace_posture || config.nullspace_posture->allFinite(),
                   "nullspace_posture is not finite"),
       }) {
    if (!problem.empty()) return problem;
  }
  return {};
}

}  // namespace serl_rt
