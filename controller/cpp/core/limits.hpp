// The last word on every torque, and the watch over the measured joints.
// Called from the 1 kHz thread: no locks, no allocation, no throw.
#pragma once

#include <string>

#include "core/fault.hpp"
#include "core/types.hpp"

namespace serl_rt {

struct RobotLimits {
  Vec7 q_min, q_max;  // [rad]
  Vec7 dq_max;        // [rad/s]
  Vec7 ddq_max;       // [rad/s^2]
  // A joint must be able to brake before its limit: near it, less than dq_max is allowed,
  // -offset + sqrt(2 deceleration distance). No deceleration: dq_max everywhere.
  Vec7 velocity_offset = Vec7::Zero();  // [rad/s]
  Vec7 deceleration = Vec7::Zero();     // [rad/s^2]
  Vec7 tau_max;                         // [Nm]
  double tau_step = 0.999;  // [Nm] largest change per tick: 1000 Nm/s, less what rounding may add
};

// Franka Research 3: libfranka 0.21, rate_limiting.h (joint limits, dq and its dependence on the
// position, ddq) and the FCI manual (87/12 Nm, 1000 Nm/s).
RobotLimits fr3_limits() noexcept;

// Franka Emika Panda ("FER"): libfranka 0.9, rate_limiting.h (dq, ddq, Nm/s), and the FCI manual,
// section Robot and interface specifications (joint limits, 87/12 Nm).
RobotLimits panda_limits() noexcept;

// Velocities that are allowed at a position [rad/s].
struct VelocityRange {
  Vec7 low, high;  // low <= 0 <= high
};
VelocityRange velocity_range(const Vec7& q, const RobotLimits& limits) noexcept;

// Keeps each joint slower than its limit, whatever the law asks for. Above `fraction` of what
// velocity_range() allows a damper acts on the excess, and the torque that drives the joint further
// fades to nothing until `full`.
struct VelocityWall {
  double fraction = 0.65;
  double full = 0.85;
  Vec7 damping{80.0, 80.0, 80.0, 80.0, 10.0, 10.0, 10.0};  // [Nm s/rad]
};

// What becomes of `tau`.
Vec7 behind_velocity_wall(const Vec7& tau, const Vec7& q, const Vec7& dq, const RobotLimits& limits,
                          const VelocityWall& wall) noexcept;

// Spring and damper that push a joint back from its limit. Inside the zone the spring grows
// linearly from nothing to `torque` at the limit; the damper acts only on the way out.
struct JointWall {
  double zone = 0.1;                                    // [rad] from the limit inwards
  Vec7 torque{25.0, 25.0, 25.0, 25.0, 4.0, 4.0, 4.0};   // [Nm] at the limit and beyond: the cap
  Vec7 damping{10.0, 10.0, 10.0, 10.0, 2.0, 2.0, 2.0};  // [Nm s/rad] at the limit
};

Vec7 joint_wall_torque(const Vec7& q, const Vec7& dq, const RobotLimits& limits,
                       const JointWall& wall) noexcept;

// When a measured joint counts as beyond its limit.
struct JointStop {
  double position_margin = 0.01;    // [rad] inside the limit
  double velocity_fraction = 0.95;  // of what velocity_range() allows,
  double velocity_margin = 0.05;    // [rad/s] but at least this much: next to a limit it allows 0
};

// Empty, or what is wrong.
std::string validate(const RobotLimits& limits);
std::string validate(const JointWall& wall);
std::string validate(const VelocityWall& wall);
std::string validate(const JointStop& stop);

// Notices the tick at which a measured joint passes a limit. Only the passing counts: an arm that
// is beyond may be moved back.
class JointGuard {
 public:
  JointGuard(const RobotLimits& limits, const JointStop& stop) noexcept;

  void reset() noexcept;
  // True: position or velocity is beyond its limit and was not in the last tick.
  bool passed(const State& state, TickFaults& faults) noexcept;

 private:
  RobotLimits limits_;
  JointStop stop_;
  Vec7 q_low_, q_high_;
  bool beyond_position_ = false;
  bool beyond_velocity_ = false;
};

// Finite check -> joint and velocity walls -> torque clamp -> torque-rate limit, in this order.
class TorqueLimiter {
 public:
  TorqueLimiter(const RobotLimits& limits, const JointWall& wall,
                const VelocityWall& velocity_wall = {}) noexcept;

  // The torque that the robot has now; taken as zero where it is not finite.
  void reset(const Vec7& tau_commanded) noexcept;

  // What to command. Always finite, and within tau_step of the last command and of the one that
  // the robot has (state.tau_J_d), whatever `tau` holds; within tau_max if they were. `state` must
  // be finite. A torque that is not finite becomes zero torque.
  Vec7 apply(const Vec7& tau, const State& state, TickFaults& faults) noexcept;

  // For a tick without a usable state: one step towards zero torque.
  Vec7 ramp_down() noexcept;

  const Vec7& last() const noexcept { return last_; }
  const Vec7& last_step() const noexcept { return last_step_; }  // change in the last tick

 private:
  Vec7 within_step(const Vec7& wanted, const Vec7& held) const noexcept;

  RobotLimits limits_;
  JointWall wall_;
  VelocityWall velocity_wall_;
  Vec7 last_ = Vec7::Zero();
  Vec7 last_step_ = Vec7::Zero();
};

}  // namespace serl_rt
