// Pushing with a commanded wrench, inside a box: the law of kCartesianWrench.
// Called from the 1 kHz thread: no locks, no allocation, no throw.
#pragma once

#include <string>

#include "core/types.hpp"

namespace serl_rt {

struct Workspace;

struct WrenchConfig {
  Vec6 cap{20.0, 20.0, 20.0, 5.0, 5.0, 5.0};  // [N, Nm] largest command, per axis of the base frame
  // Free motion settles at command / damping: with the caps at 0.25 m/s and 0.5 rad/s.
  double translational_damping = 80.0;  // [N s/m]
  double rotational_damping = 10.0;     // [Nm s/rad]
  double nullspace_damping = 2.0;       // [Nm s/rad] of the redundant joint
  // The box: the workspace for the position, and for the orientation a turn of at most
  // `max_rotation` about each axis from where the mode began.
  Vec3 max_rotation{0.3, 0.3, 0.3};  // [rad]
  // Towards a face the command fades to nothing over the last `zone`, while a spring grows.
  double position_zone = 0.03;    // [m]
  double rotation_zone = 0.1;     // [rad]
  double position_push = 1000.0;  // [N/m]
  double rotation_push = 50.0;    // [Nm/rad]
  double time_constant_s = 0.02;  // [s] of each of the two filters that the command goes through
  double timeout_s = 0.1;         // [s] a command lives no longer than this: then hold
};

// Empty, or what is wrong: name, value, what is allowed.
std::string validate(const WrenchConfig& config);

// Rotation vector of the turn from `from` to `to`, base frame, the short way round [rad].
Vec3 rotation_from(const Quat& from, const Quat& to) noexcept;

// J^T (F - D J dq) - N d dq + coriolis, with F the filtered command, capped per axis, which the
// box's faces fade and push back. Without a command the law only damps and pushes back into the
// box: it is passive.
class WrenchLaw {
 public:
  WrenchLaw(const WrenchConfig& config, const Workspace& workspace) noexcept;

  // The mode begins: no command yet, the orientation's box is around `state`'s.
  void enter(const State& state) noexcept;
  void command(const Vec6& wrench) noexcept { command_ = wrench; }
  Vec7 torque(const State& state) noexcept;  // one tick
  // What the last torque() pushed with [N, Nm], without damping.
  const Vec6& wrench() const noexcept { return wrench_; }

 private:
  WrenchConfig config_;
  Vec6 low_, high_;  // box: position [m], then turn [rad]
  double factor_;    // of the command's filter, per tick
  Quat start_ = Quat::Identity();
  Vec6 command_ = Vec6::Zero();
  Vec6 half_filtered_ = Vec6::Zero();  // first-order, so that the next one begins without a kink
  Vec6 filtered_ = Vec6::Zero();
  Vec6 wrench_ = Vec6::Zero();
};

}  // namespace serl_rt
