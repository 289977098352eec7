#include "core/wrench.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/impedance.hpp"
#include "core/target_check.hpp"

namespace serl_rt {
namespace {

std::string check(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  std::ostringstream text;
  text << "wrench " << name << " = " << value << " is outside [" << low << ", " << high << "]";
  return text.str();
}

// One axis: the command, faded towards the face that it pushes at, and the face's push back.
// `x` in [low, high]; the faces act over the last `zone`, which halves of a narrow box share.
double axis_wrench(double command, double x, double low, double high, double zone,
                   double push) noexcept {
  const double reach = std::min(zone, 0.5 * (high - low));
  const double above = std::max(0.0, x - (high - reach));
  const double below = std::max(0.0, (low + reach) - x);
  const double depth = command > 0.0 ? above : below;  // of the face that the command pushes at
  const double left = reach > 0.0 ? std::max(0.0, 1.0 - depth / reach) : 0.0;
  // No more than at one zone beyond the face: an arm far outside is not thrown back.
  const double limit = 2.0 * zone;
  return command * left - push * (std::min(above, limit) - std::min(below, limit));
}

}  // namespace

std::string validate(const WrenchConfig& config) {
  for (int i = 0; i < 6; ++i) {
    const std::string problem = i < 3 ? check("force cap [N]", config.cap[i], 0.0, 60.0)
                                      : check("torque cap [Nm]", config.cap[i], 0.0, 15.0);
    if (!problem.empty()) return problem;
  }
  for (int i = 0; i < 3; ++i) {
    const std::string problem = check("max_rotation [rad]", config.max_rotation[i], 0.01, 2.5);
    if (!problem.empty()) return problem;
  }
  for (const std::string& problem : {
           check("translational_damping [N s/m]", config.translational_damping, 20.0, 400.0),
           check("rotational_damping [Nm s/rad]", config.rotational_damping, 2.0, 30.0),
           check("nullspace_damping [Nm s/rad]", config.nullspace_damping, 0.0, 20.0),
           check("position_zone [m]", config.position_zone, 0.005, 0.1),
           check("rotation_zone [rad]", config.rotation_zone, 0.02, 0.5),
           check("position_push [N/m]", config.position_push, 100.0, 3000.0),
           check("rotation_push [Nm/rad]", config.rotation_push, 5.0, 150.0),
           check("time_constant_s", config.time_constant_s, 0.0, 1.0),
           check("timeout_s", config.timeout_s, 0.01, 0.1),
       }) {
    if (!problem.empty()) return problem;
  }
  return {};
}

Vec3 rotation_from(const Quat& from, const Quat& to) noexcept {
  Quat turn = to * from.conjugate();
  if (turn.w() < 0.0) turn.coeffs() = -turn.coeffs();
  const double sine = turn.vec().norm();
  if (sine < 1e-9) return 2.0 * turn.vec();
  return (2.0 * std::atan2(sine, turn.w()) / sine) * turn.vec();
}

WrenchLaw::WrenchLaw(const WrenchConfig& config, const Workspace& workspace) noexcept
    : config_(config),
      factor_(std::min(1.0, kTickSeconds / std::max(config.time_constant_s, kTickSeconds))) {
  low_ << workspace.low, -config.max_rotation;
  high_ << workspace.high, config.max_rotation;
}

void WrenchLaw::enter(const State& state) noexcept {
  start_ = state.O_T_EE.orientation;
  command_.setZero();
  half_filtered_.setZero();
  filtered_.setZero();
  wrench_.setZero();
}

Vec7 WrenchLaw::torque(const State& state) noexcept {
  const Vec6 capped = command_.cwiseMax(-config_.cap).cwiseMin(config_.cap);
  half_filtered_ += factor_ * (capped - half_filtered_);
  filtered_ += factor_ * (half_filtered_ - filtered_);
  Vec6 x;
  x << state.O_T_EE.position, rotation_from(start_, state.O_T_EE.orientation);
  for (int i = 0; i < 6; ++i) {
    const bool linear = i < 3;
    wrench_[i] = axis_wrench(filtered_[i], x[i], low_[i], high_[i],
                             linear ? config_.position_zone : config_.rotation_zone,
                             linear ? config_.position_push : config_.rotation_push);
  }
  Vec6 damping;
  damping << Vec3::Constant(config_.translational_damping),
      Vec3::Constant(config_.rotational_damping);
  const Vec6 total = wrench_ - damping.cwiseProduct(tcp_twist(state));
  return state.zero_jacobian.transpose() * total -
         project_to_nullspace(state.zero_jacobian, config_.nullspace_damping * state.dq) +
         state.coriolis;
}

}  // namespace serl_rt
