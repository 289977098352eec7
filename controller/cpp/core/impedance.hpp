// The impedance laws as pure functions. Called from the 1 kHz thread: no locks, no allocation, no
// throw, but for the validate() functions, which belong to set-up.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "core/types.hpp"

namespace serl_rt {

// SERL's impedance parameters, by SERL's names and with its defaults. All may change while
// running; kGainFields has the accepted ranges.
struct CartesianGains {
  double translational_stiffness = 2000.0;    // [N/m]
  double translational_damping = 89.0;        // [N s/m]
  double rotational_stiffness = 150.0;        // [Nm] per unit of sin(angle/2)
  double rotational_damping = 7.0;            // [Nm s/rad]
  double nullspace_stiffness = 0.2;           // [Nm/rad]; damping is 2 sqrt of it
  double joint1_nullspace_stiffness = 100.0;  // [1] times nullspace_stiffness, for joint 1
  double translational_Ki = 0.0;              // [N/m] per tick
  double rotational_Ki = 0.0;                 // [Nm] per tick
  // Largest error that the law sees, per axis of the base frame, so that a contact force settles
  // at no more than stiffness x clip. The law works against x - x_d.
  Vec3 translational_clip = Vec3::Constant(0.01);      // [m] where x - x_d > 0
  Vec3 translational_clip_neg = Vec3::Constant(0.01);  // [m] where x - x_d < 0
  Vec3 rotational_clip = Vec3::Constant(0.05);         // [sin(angle/2)] positive error
  Vec3 rotational_clip_neg = Vec3::Constant(0.05);     // [sin(angle/2)] negative error
};

// One parameter of CartesianGains: either a scalar or a value per axis.
struct GainField {
  std::string_view name;
  double CartesianGains::* scalar;
  Vec3 CartesianGains::* axes;
  double low, high;
};

// Names and accepted ranges (SERL's dynamic_reconfigure ranges).
inline constexpr std::array<GainField, 12> kGainFields{{
    {"translational_stiffness", &CartesianGains::translational_stiffness, nullptr, 0.0, 6000.0},
    {"translational_damping", &CartesianGains::translational_damping, nullptr, 0.0, 400.0},
    {"rotational_stiffness", &CartesianGains::rotational_stiffness, nullptr, 0.0, 300.0},
    {"rotational_damping", &CartesianGains::rotational_damping, nullptr, 0.0, 30.0},
    {"nullspace_stiffness", &CartesianGains::nullspace_stiffness, nullptr, 0.0, 100.0},
    {"joint1_nullspace_stiffness", &CartesianGains::joint1_nullspace_stiffness, nullptr, 0.0,
     100.0},
    {"translational_Ki", &CartesianGains::translational_Ki, nullptr, 0.0, 100.0},
    {"rotational_Ki", &CartesianGains::rotational_Ki, nullptr, 0.0, 100.0},
    {"translational_clip", nullptr, &CartesianGains::translational_clip, 0.0, 0.1},
    {"translational_clip_neg", nullptr, &CartesianGains::translational_clip_neg, 0.0, 0.1},
    {"rotational_clip", nullptr, &CartesianGains::rotational_clip, 0.0, 0.1},
    {"rotational_clip_neg", nullptr, &CartesianGains::rotational_clip_neg, 0.0, 0.1},
}};

// The first parameter outside its range, as "name = value is outside [low, high]"; empty if all
// are inside. Not for the 1 kHz thread: allocates.
std::string validate(const CartesianGains& gains);

// The same check for the 1 kHz thread.
bool within_ranges(const CartesianGains& gains) noexcept;

// Sum of the clipped error over the ticks, SERL's way: no dt, clamped, zero at a new target.
class ErrorIntegral {
 public:
  static constexpr double kTranslationalLimit = 0.1;  // [m]
  static constexpr double kRotationalLimit = 0.3;     // [sin(angle/2)]

  void reset() noexcept { sum_.setZero(); }
  void add(const Vec6& error) noexcept;
  const Vec6& value() const noexcept { return sum_; }

 private:
  Vec6 sum_ = Vec6::Zero();
};

// x - x_d in the base frame: position [m], then the vector part of the error quaternion on the
// short way round, sin(angle/2) times the axis. A small rotation vector r gives r/2.
Vec6 pose_error(const Pose& measured, const Pose& desired) noexcept;

// The error as the law sees it: each component within [-clip_neg, clip].
Vec6 clip_error(const Vec6& error, const CartesianGains& gains) noexcept;

inline constexpr double kPseudoInverseDamping = 0.2;  // SERL's lambda

// N tau with N = I - J^T (J J^T + lambda^2 I)^-1 J: what is left of a joint torque when its effect
// on the end effector is taken out. Equals I - J^T pinv(J^T) with the damped pseudo-inverse whose
// singular values are s / (s^2 + lambda^2), but costs a 6x6 Cholesky factor in place of an SVD.
Vec7 project_to_nullspace(const Jacobian& jacobian, const Vec7& tau,
                          double lambda = kPseudoInverseDamping) noexcept;

// Joint torque that pulls the redundant joint towards `posture`, before projection:
// k (q_n - q) - 2 sqrt(k) dq, with joint 1's error scaled by k1 and its velocity by 2 sqrt(k1).
Vec7 posture_torque(const State& state, const Vec7& posture, const CartesianGains& gains) noexcept;

// J^T (-K e - D J dq - Ki sum(e)) + N posture_torque + coriolis, with e the clipped error, and the
// posture's torque capped at 20 Nm (5 Nm at the wrist).
// Adds e to `integral`. Gravity is not included.
Vec7 cartesian_impedance(const State& state, const Pose& desired, const Vec7& posture,
                         const CartesianGains& gains, ErrorIntegral& integral) noexcept;

// Gains of the joint modes. The defaults are those of libfranka's joint impedance example.
struct JointGains {
  Vec7 stiffness{600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0};  // [Nm/rad]
  Vec7 damping{50.0, 50.0, 50.0, 50.0, 30.0, 25.0, 15.0};          // [Nm s/rad]
  double clip = 0.3;                                               // [rad] largest error seen
};

// As for CartesianGains. Ranges: stiffness [0, 2000], damping [0, 200], clip [0, 1].
std::string validate(const JointGains& gains);

// K clip(q_d - q) + D (dq_d - dq) + coriolis.
Vec7 joint_impedance(const State& state, const Vec7& q_desired, const Vec7& dq_desired,
                     const JointGains& gains) noexcept;

}  // namespace serl_rt
