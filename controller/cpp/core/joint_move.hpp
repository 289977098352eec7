// A minimum-jerk motion of the joints from rest to rest, checked before it starts.
// Called from the 1 kHz thread: no locks, no allocation, no throw.
#pragma once

#include <optional>

#include "core/fault.hpp"
#include "core/limits.hpp"
#include "core/types.hpp"

namespace serl_rt {

struct JointSample {
  Vec7 q;   // [rad]
  Vec7 dq;  // [rad/s]
};

class JointMove {
 public:
  JointMove() = default;  // at rest at zero
  JointMove(const Vec7& start, const Vec7& goal, double duration_s) noexcept
      : start_(start), goal_(goal), duration_s_(duration_s) {}

  JointSample sample(double time_s) const noexcept;  // start before 0, goal after the duration
  const Vec7& goal() const noexcept { return goal_; }
  double duration_s() const noexcept { return duration_s_; }

 private:
  Vec7 start_ = Vec7::Zero();
  Vec7 goal_ = Vec7::Zero();
  double duration_s_ = 0.0;
};

// Shortest duration [s] at which no joint passes `fraction` of its acceleration limit, nor of the
// velocity that is allowed where it is on its way.
double shortest_duration(const Vec7& start, const Vec7& goal, const RobotLimits& limits,
                         double fraction) noexcept;

// Fills `move`, or says why not: goal or duration not finite (kTargetInvalid), goal outside the
// joint limits less `margin` [rad] (kTargetOutsideJointLimits), duration shorter than
// shortest_duration() (kMoveTooFast; the limit says which duration would do).
// A duration of 0 asks for the shortest.
std::optional<Refusal> plan_joint_move(const Vec7& start, const Vec7& goal, double duration_s,
                                       const RobotLimits& limits, double margin, double fraction,
                                       JointMove& move) noexcept;

}  // namespace serl_rt
