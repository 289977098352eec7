#include "core/impedance.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace serl_rt {
namespace {

std::string outside(std::string_view name, int axis, double value, double low, double high) {
  std::ostringstream text;
  text << name;
  if (axis >= 0) text << '[' << axis << ']';
  text << " = " << value << " is outside [" << low << ", " << high << "]";
  return text.str();
}

bool inside(double value, double low, double high) noexcept {
  return value >= low && value <= high;  // false for NaN
}

// Diagonal of a 6x6 gain: one value for the translation, one for the rotation.
Vec6 per_axis(double translational, double rotational) noexcept {
  Vec6 gains;
  gains << Vec3::Constant(translational), Vec3::Constant(rotational);
  return gains;
}

const Vec7 kMaxPostureTorque{20.0, 20.0, 20.0, 20.0, 5.0, 5.0, 5.0};  // [Nm]

}  // namespace

std::string validate(const CartesianGains& gains) {
  for (const GainField& field : kGainFields) {
    const int axes = field.axes != nullptr ? 3 : 1;
    for (int i = 0; i < axes; ++i) {
      const double value = field.axes != nullptr ? (gains.*field.axes)[i] : gains.*field.scalar;
      if (!inside(value, field.low, field.high)) {
        return outside(field.name, axes == 3 ? i : -1, value, field.low, field.high);
      }
    }
  }
  return {};
}

bool within_ranges(const CartesianGains& gains) noexcept {
  return std::all_of(kGainFields.begin(), kGainFields.end(), [&](const GainField& field) {
    if (field.axes == nullptr) return inside(gains.*field.scalar, field.low, field.high);
    const Vec3& value = gains.*field.axes;
    return inside(value[0], field.low, field.high) && inside(value[1], field.low, field.high) &&
           inside(value[2], field.low, field.high);
  });
}

void ErrorIntegral::add(const Vec6& error) noexcept {
  const Vec6 limit = per_axis(kTranslationalLimit, kRotationalLimit);
  sum_ = (sum_ + error).cwiseMax(-limit).cwiseMin(limit);
}

Vec6 pose_error(const Pose& measured, const Pose& desired) noexcept {
  const Quat difference = measured.orientation.conjugate() * desired.orientation;
  // q and -q are the same rotation; the one with a positive scalar part goes the short way round.
  const double sign = difference.w() < 0.0 ? -1.0 : 1.0;
  Vec6 error;
  error.head<3>() = measured.position - desired.position;
  error.tail<3>() = -(measured.orientation * Vec3(sign * difference.vec()));
  return error;
}

Vec6 clip_error(const Vec6& error, const CartesianGains& gains) noexcept {
  Vec6 low;
  Vec6 high;
  low << -gains.translational_clip_neg, -gains.rotational_clip_neg;
  high << gains.translational_clip, gains.rotational_clip;
  return error.cwiseMax(low).cwiseMin(high);
}

Vec7 project_to_nullspace(const Jacobian& jacobian, const Vec7& tau, double lambda) noexcept {
  Eigen::Matrix<double, 6, 6> gram;
  gram.noalias() = jacobian.lazyProduct(jacobian.transpose());
  gram.diagonal().array() += lambda * lambda;  // positive definite at every pose
  const Vec6 wrench = gram.llt().solve(jacobian * tau);
  return tau - jacobian.transpose() * wrench;
}

Vec7 posture_torque(const State& state, const Vec7& posture, const CartesianGains& gains) noexcept {
  Vec7 error = posture - state.q;
  Vec7 velocity = state.dq;
  error[0] *= gains.joint1_nullspace_stiffness;
  velocity[0] *= 2.0 * std::sqrt(gains.joint1_nullspace_stiffness);
  const double stiffness = gains.nullspace_stiffness;
  return stiffness * error - 2.0 * std::sqrt(stiffness) * velocity;
}

Vec7 cartesian_impedance(const State& state, const Pose& desired, const Vec7& posture,
                         const CartesianGains& gains, ErrorIntegral& integral) noexcept {
  const Vec6 error = clip_error(pose_error(state.O_T_EE, desired), gains);
  integral.add(error);
  const Vec6 stiffness = per_axis(gains.translational_stiffness, gains.rotational_stiffness);
  const Vec6 damping = per_axis(gains.translational_damping, gains.rotational_damping);
  const Vec6 Ki = per_axis(gains.translational_Ki, gains.rotational_Ki);
  const Vec6 wrench = -stiffness.cwiseProduct(error) - damping.cwiseProduct(tcp_twist(state)) -
                      Ki.cwiseProduct(integral.value());
  // With the largest gains that are accepted the pull would be thousands of Nm, which the torque's
  // rate limit turns into an oscillation.
  const Vec7 posture_pull = posture_torque(state, posture, gains)
                                .cwiseMax(-kMaxPostureTorque)
                                .cwiseMin(kMaxPostureTorque);
  return state.zero_jacobian.transpose() * wrench +
         project_to_nullspace(state.zero_jacobian, posture_pull) + state.coriolis;
}

std::string validate(const JointGains& gains) {
  constexpr double kMaxStiffness = 2000.0;
  constexpr double kMaxDamping = 200.0;
  constexpr double kMaxClip = 1.0;
  for (int i = 0; i < kJoints; ++i) {
    if (!inside(gains.stiffness[i], 0.0, kMaxStiffness)) {
      return outside("joint stiffness", i, gains.stiffness[i], 0.0, kMaxStiffness);
    }
    if (!inside(gains.damping[i], 0.0, kMaxDamping)) {
      return outside("joint damping", i, gains.damping[i], 0.0, kMaxDamping);
    }
  }
  if (!inside(gains.clip, 0.0, kMaxClip)) return outside("joint clip", -1, gains.clip, 0, kMaxClip);
  return {};
}

Vec7 joint_impedance(const State& state, const Vec7& q_desired, const Vec7& dq_desired,
                     const JointGains& gains) noexcept {
  const Vec7 error = (q_desired - state.q).cwiseMax(-gains.clip).cwiseMin(gains.clip);
  return gains.stiffness.cwiseProduct(error) + gains.damping.cwiseProduct(dq_desired - state.dq) +
         state.coriolis;
}

}  // namespace serl_rt
