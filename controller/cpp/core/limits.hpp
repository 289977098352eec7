// The last word on every torque, and the watch over the measured joints.
// Called from the 1 kHz thread: no locks, no allocation, no throw.
#pragma once

#include <string>

#include "core/fault.hpp"
#include "core/types.hpp"

namespace serl_rt {

struct RobotLimits {
  Vec7 q_min, q_max;      // [rad]
  Vec7 dq_max;            // [rad/s]
  Vec7 ddq_max;           // [rad/s^2]
  Vec7 tau_max;           // [Nm]
  double tau_step = 1.0;  // [Nm] largest change per tick: 1000 Nm/s
};

// Franka Research 3: libfranka 0.21, rate_limiting.h (joint limits, dq, ddq) and the FCI manual
// (87/12 Nm, 1000 Nm/s).
RobotLimits fr3_limits() noexcept;

// Franka Emika Panda ("FER"): FCI manual, section Robot and interface specifications.
RobotLimits panda_limits() noexcept;

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
  double velocity_fraction = 0.95;  // of dq_max
};

// Empty, or what is wrong.
std::string validate(const RobotLimits& limits);
std::string validate(const JointWall& wall);
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
  Vec7 q_low_, q_high_, dq_high_;
  bool beyond_position_ = false;
  bool beyond_velocity_ = false;
};

// Finite check -> joint wall -> torque clamp -> torque-rate limit, in this order.
class TorqueLimiter {
 public:
  TorqueLimiter(const RobotLimits& limits, const JointWall& wall) noexcept;

  // The torque that the robot has now; taken as zero where it is not finite.
  void reset(const Vec7& tau_commanded) noexcept;

  // What to command. Always finite, within tau_max, and within tau_step of the last command,
  // whatever `tau` holds. `state` must be finite. A torque that is not finite becomes zero torque.
  Vec7 apply(const Vec7& tau, const State& state, TickFaults& faults) noexcept;

  // For a tick without a usable state: one step towards zero torque.
  Vec7 ramp_down() noexcept;

  const Vec7& last() const noexcept { return last_; }

 private:
  RobotLimits limits_;
  JointWall wall_;
  Vec7 last_ = Vec7::Zero();
};

}  // namespace serl_rt
