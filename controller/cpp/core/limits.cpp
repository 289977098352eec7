#include "core/limits.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace serl_rt {
namespace {

std::string joint_error(const char* name, int joint, double value, const char* allowed) {
  std::ostringstream text;
  text << name << " of joint " << joint + 1 << " = " << value << " " << allowed;
  return text.str();
}

}  // namespace

RobotLimits fr3_limits() noexcept {
  RobotLimits limits;
  limits.q_min << -2.7501, -1.7918, -2.9065, -3.0481, -2.8101, 0.54092, -3.0196;
  limits.q_max << 2.7501, 1.7918, 2.9065, -0.1458, 2.8101, 4.5205, 3.0196;
  limits.dq_max << 2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26;
  limits.ddq_max.setConstant(10.0);
  limits.velocity_offset << 0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35;
  limits.deceleration << 6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0;
  limits.tau_max << 87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0;
  return limits;
}

RobotLimits panda_limits() noexcept {
  RobotLimits limits;
  limits.q_min << -2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973;
  limits.q_max << 2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973;
  limits.dq_max << 2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61;
  limits.ddq_max << 15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0;
  limits.tau_max << 87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0;
  return limits;
}

VelocityRange velocity_range(const Vec7& q, const RobotLimits& limits) noexcept {
  VelocityRange range;
  for (int i = 0; i < kJoints; ++i) {
    const auto allowed = [&](double distance) {
      if (limits.deceleration[i] <= 0.0) return limits.dq_max[i];
      const double braking = std::sqrt(2.0 * limits.deceleration[i] * std::max(0.0, distance));
      return std::clamp(braking - limits.velocity_offset[i], 0.0, limits.dq_max[i]);
    };
    range.high[i] = allowed(limits.q_max[i] - q[i]);
    range.low[i] = -allowed(q[i] - limits.q_min[i]);
  }
  return range;
}

Vec7 behind_velocity_wall(const Vec7& tau, const Vec7& q, const Vec7& dq, const RobotLimits& limits,
                          const VelocityWall& wall) noexcept {
  const VelocityRange range = velocity_range(q, limits);
  Vec7 result = tau;
  for (int i = 0; i < kJoints; ++i) {
    const double outward = dq[i] > 0.0 ? 1.0 : -1.0;
    const double allowed = dq[i] > 0.0 ? range.high[i] : -range.low[i];
    const double excess = std::abs(dq[i]) - wall.fraction * allowed;
    if (excess <= 0.0) continue;
    const double width = (wall.full - wall.fraction) * allowed;
    const double left = width > 0.0 ? std::max(0.0, 1.0 - excess / width) : 0.0;
    if (outward * tau[i] > 0.0) result[i] *= left;
    result[i] -= outward * wall.damping[i] * excess;
  }
  return result;
}

Vec7 joint_wall_torque(const Vec7& q, const Vec7& dq, const RobotLimits& limits,
                       const JointWall& wall) noexcept {
  Vec7 tau = Vec7::Zero();
  for (int i = 0; i < kJoints; ++i) {
    const double above = q[i] - (limits.q_max[i] - wall.zone);
    const double below = (limits.q_min[i] + wall.zone) - q[i];
    if (above <= 0.0 && below <= 0.0) continue;
    const double outward = above > below ? 1.0 : -1.0;
    const double depth = std::min(1.0, std::max(above, below) / wall.zone);
    const double speed = std::max(0.0, outward * dq[i]);
    const double push = depth * (wall.torque[i] + wall.damping[i] * speed);
    tau[i] = -outward * std::min(push, wall.torque[i]);
  }
  return tau;
}

std::string validate(const RobotLimits& limits) {
  for (int i = 0; i < kJoints; ++i) {
    if (!(limits.q_min[i] < limits.q_max[i])) {
      return joint_error("q_min", i, limits.q_min[i], "is not below q_max");
    }
    const auto positive = [](double x) { return std::isfinite(x) && x > 0.0; };
    constexpr const char* kAllowed = "is not positive and finite";
    if (!positive(limits.dq_max[i])) return joint_error("dq_max", i, limits.dq_max[i], kAllowed);
    if (!positive(limits.ddq_max[i])) return joint_error("ddq_max", i, limits.ddq_max[i], kAllowed);
    if (!(limits.velocity_offset[i] >= 0.0) || !(limits.deceleration[i] >= 0.0)) {
      return joint_error("velocity_offset or deceleration", i, limits.deceleration[i],
                         "is negative");
    }
    if (!positive(limits.tau_max[i])) return joint_error("tau_max", i, limits.tau_max[i], kAllowed);
  }
  if (!(limits.tau_step > 0.0 && limits.tau_step <= 1.0)) {
    return "tau_step = " + std::to_string(limits.tau_step) + " Nm is outside (0, 1]";
  }
  return {};
}

std::string validate(const JointWall& wall) {
  if (!(wall.zone >= 0.0 && wall.zone <= 0.5)) {
    return "joint wall zone = " + std::to_string(wall.zone) + " rad is outside [0, 0.5]";
  }
  for (int i = 0; i < kJoints; ++i) {
    constexpr const char* kAllowed = "is outside [0, 87]";
    if (!(wall.torque[i] >= 0.0 && wall.torque[i] <= 87.0)) {
      return joint_error("wall torque", i, wall.torque[i], kAllowed);
    }
    if (!(wall.damping[i] >= 0.0 && wall.damping[i] <= 87.0)) {
      return joint_error("wall damping", i, wall.damping[i], kAllowed);
    }
  }
  return {};
}

std::string validate(const VelocityWall& wall) {
  if (!(wall.fraction > 0.0 && wall.fraction < wall.full && wall.full <= 1.0)) {
    return "velocity wall fraction = " + std::to_string(wall.fraction) +
           " and full = " + std::to_string(wall.full) + " must rise within (0, 1]";
  }
  for (int i = 0; i < kJoints; ++i) {
    if (!(wall.damping[i] >= 0.0 && wall.damping[i] <= 100.0)) {
      return joint_error("velocity wall damping", i, wall.damping[i], "is outside [0, 100]");
    }
  }
  return {};
}

std::string validate(const JointStop& stop) {
  if (!(stop.position_margin >= 0.0 && stop.position_margin <= 0.5)) {
    return "stop position_margin = " + std::to_string(stop.position_margin) +
           " rad is outside [0, 0.5]";
  }
  if (!(stop.velocity_fraction > 0.0 && stop.velocity_fraction <= 1.0)) {
    return "stop velocity_fraction = " + std::to_string(stop.velocity_fraction) +
           " is outside (0, 1]";
  }
  if (!(stop.velocity_margin >= 0.0 && stop.velocity_margin <= 0.1)) {
    return "stop velocity_margin = " + std::to_string(stop.velocity_margin) +
           " rad/s is outside [0, 0.1]";
  }
  return {};
}

JointGuard::JointGuard(const RobotLimits& limits, const JointStop& stop) noexcept
    : limits_(limits),
      stop_(stop),
      q_low_(limits.q_min.array() + stop.position_margin),
      q_high_(limits.q_max.array() - stop.position_margin) {}

void JointGuard::reset() noexcept {
  beyond_position_ = false;
  beyond_velocity_ = false;
}

bool JointGuard::passed(const State& state, TickFaults& faults) noexcept {
  bool passed = false;

  Eigen::Index joint = 0;
  const bool beyond_position =
      (state.q - q_high_).cwiseMax(q_low_ - state.q).maxCoeff(&joint) > 0.0;
  if (beyond_position && !beyond_position_) {
    const double q = state.q[joint];
    faults.raise(Fault::kJointPositionLimit, q,
                 q > q_high_[joint] ? q_high_[joint] : q_low_[joint]);
    passed = true;
  }
  beyond_position_ = beyond_position;

  const VelocityRange range = velocity_range(state.q, limits_);
  const Vec7 dq_high = (stop_.velocity_fraction * range.high).cwiseMax(stop_.velocity_margin);
  const Vec7 dq_low = (stop_.velocity_fraction * range.low).cwiseMin(-stop_.velocity_margin);
  const bool beyond_velocity =
      (state.dq - dq_high).cwiseMax(dq_low - state.dq).maxCoeff(&joint) > 0.0;
  if (beyond_velocity && !beyond_velocity_) {
    const double dq = state.dq[joint];
    faults.raise(Fault::kJointVelocityLimit, dq, dq > 0.0 ? dq_high[joint] : dq_low[joint]);
    passed = true;
  }
  beyond_velocity_ = beyond_velocity;
  return passed;
}

TorqueLimiter::TorqueLimiter(const RobotLimits& limits, const JointWall& wall,
                             const VelocityWall& velocity_wall) noexcept
    : limits_(limits), wall_(wall), velocity_wall_(velocity_wall) {}

void TorqueLimiter::reset(const Vec7& tau_commanded) noexcept {
  last_.setZero();
  last_step_.setZero();
  if (tau_commanded.allFinite()) {
    last_ = tau_commanded.cwiseMax(-limits_.tau_max).cwiseMin(limits_.tau_max);
  }
}

Vec7 TorqueLimiter::apply(const Vec7& tau, const State& state, TickFaults& faults) noexcept {
  Vec7 wanted = tau;
  if (!wanted.allFinite()) {
    faults.raise(Fault::kTorqueNonFinite);
    wanted.setZero();
  }

  wanted = behind_velocity_wall(wanted, state.q, state.dq, limits_, velocity_wall_) +
           joint_wall_torque(state.q, state.dq, limits_, wall_);

  Eigen::Index joint = 0;
  if ((wanted.cwiseAbs() - limits_.tau_max).maxCoeff(&joint) > 0.0) {
    faults.raise(Fault::kTorqueClamped, wanted[joint], limits_.tau_max[joint]);
    wanted = wanted.cwiseMax(-limits_.tau_max).cwiseMin(limits_.tau_max);
  }

  const Vec7 limited = within_step(wanted, state.tau_J_d);
  if ((wanted - limited).cwiseAbs().maxCoeff(&joint) > 0.0) {
    faults.raise(Fault::kTorqueRateLimited, wanted[joint] - last_[joint], limits_.tau_step);
  }
  last_step_ = limited - last_;
  last_ = limited;
  return limited;
}

// The robot compares with the command that it has, which is not the last one if that was lost on
// the way. Within a step of both; of the robot's alone where they are too far apart for that.
Vec7 TorqueLimiter::within_step(const Vec7& wanted, const Vec7& held) const noexcept {
  Vec7 limited;
  for (int i = 0; i < kJoints; ++i) {
    const double step = limits_.tau_step;
    const double robot = std::isfinite(held[i]) ? held[i] : last_[i];
    double low = std::max(last_[i], robot) - step;
    double high = std::min(last_[i], robot) + step;
    if (low > high) {
      low = robot - step;
      high = robot + step;
    }
    limited[i] = std::clamp(wanted[i], low, high);
  }
  return limited;
}

Vec7 TorqueLimiter::ramp_down() noexcept {
  last_step_ = -last_.cwiseMax(-limits_.tau_step).cwiseMin(limits_.tau_step);
  last_ += last_step_;
  return last_;
}

}  // namespace serl_rt
