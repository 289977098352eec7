#include "core/joint_move.hpp"

#include <algorithm>
#include <cmath>

#include "core/target_check.hpp"
#include "core/target_filter.hpp"

namespace serl_rt {
namespace {

// Largest second derivative of min_jerk() on [0, 1]: 10/sqrt(3), at x = 1/2 -+ sqrt(3)/6.
constexpr double kMinJerkPeakAcceleration = 5.773502691896258;

// Next to a joint's limit no velocity is allowed that counts; this little is, or nothing would ever
// arrive there.
constexpr double kCreep = 0.05;  // [rad/s]
constexpr int kPathSamples = 50;

// Duration [s] at which no joint passes `fraction` of what is allowed where it is on its way.
double duration_on_path(const Vec7& start, const Vec7& goal, const RobotLimits& limits,
                        double fraction) noexcept {
  const Vec7 way = goal - start;
  double duration = 0.0;
  for (int i = 1; i < kPathSamples; ++i) {
    const double x = static_cast<double>(i) / kPathSamples;
    const VelocityRange range = velocity_range(start + min_jerk(x) * way, limits);
    const Vec7 high = (fraction * range.high).cwiseMax(kCreep);
    const Vec7 low = (-fraction * range.low).cwiseMax(kCreep);
    const Vec7 rate = min_jerk_rate(x) * way;
    const double needed =
        std::max(rate.cwiseQuotient(high).maxCoeff(), (-rate).cwiseQuotient(low).maxCoeff());
    duration = std::max(duration, needed);
  }
  return duration;
}

}  // namespace

JointSample JointMove::sample(double time_s) const noexcept {
  if (time_s >= duration_s_) return {goal_, Vec7::Zero()};
  if (time_s <= 0.0) return {start_, Vec7::Zero()};
  const double x = time_s / duration_s_;
  const Vec7 way = goal_ - start_;
  return {start_ + min_jerk(x) * way, (min_jerk_rate(x) / duration_s_) * way};
}

double shortest_duration(const Vec7& start, const Vec7& goal, const RobotLimits& limits,
                         double fraction) noexcept {
  const Vec7 way = (goal - start).cwiseAbs();
  const double velocity = kMinJerkPeakRate * way.cwiseQuotient(fraction * limits.dq_max).maxCoeff();
  const double acceleration =
      std::sqrt(kMinJerkPeakAcceleration * way.cwiseQuotient(fraction * limits.ddq_max).maxCoeff());
  return std::max({velocity, acceleration, duration_on_path(start, goal, limits, fraction)});
}

std::optional<Refusal> plan_joint_move(const Vec7& start, const Vec7& goal, double duration_s,
                                       const RobotLimits& limits, double margin, double fraction,
                                       JointMove& move) noexcept {
  if (!goal.allFinite() || !std::isfinite(duration_s)) return Refusal{Fault::kTargetInvalid};
  if (const auto refusal = check_joint_range(goal, limits, margin)) return refusal;
  const double shortest = shortest_duration(start, goal, limits, fraction);
  if (duration_s != 0.0 && duration_s < shortest) {
    return Refusal{Fault::kMoveTooFast, duration_s, shortest};
  }
  move = JointMove(start, goal, duration_s == 0.0 ? shortest : duration_s);
  return std::nullopt;
}

}  // namespace serl_rt
