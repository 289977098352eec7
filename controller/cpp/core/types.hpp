// The values that flow through the controller: robot state, target, gains. Plain fixed-size data,
// usable from every thread; nothing here allocates.
#pragma once

#include <Eigen/Dense>
#include <cstdint>

namespace serl_rt {

using Vec3 = Eigen::Vector3d;
using Vec6 = Eigen::Matrix<double, 6, 1>;
using Vec7 = Eigen::Matrix<double, 7, 1>;
using Quat = Eigen::Quaterniond;
using Jacobian = Eigen::Matrix<double, 6, 7>;

inline constexpr int kJoints = 7;
inline constexpr double kTickSeconds = 1e-3;        // [s] control period
inline constexpr std::int64_t kTickNs = 1'000'000;  // [ns] control period

// A rigid transform: position [m] and unit quaternion.
struct Pose {
  Vec3 position = Vec3::Zero();
  Quat orientation = Quat::Identity();
};

// One sample of the robot, in the base frame. Names follow libfranka.
struct State {
  std::int64_t time_ns = 0;                   // [ns] robot clock
  Vec7 q = Vec7::Zero();                      // [rad]
  Vec7 dq = Vec7::Zero();                     // [rad/s]
  Vec7 tau_J = Vec7::Zero();                  // [Nm] measured
  Vec7 tau_J_d = Vec7::Zero();                // [Nm] commanded in the last cycle, without gravity
  Pose O_T_EE;                                // end effector (tool centre point) in base
  Jacobian zero_jacobian = Jacobian::Zero();  // rows: linear xyz [m/rad], angular xyz [rad/rad]
  Vec7 coriolis = Vec7::Zero();               // [Nm]
  Vec7 gravity = Vec7::Zero();                // [Nm] informational: the robot compensates it
  Vec6 O_F_ext = Vec6::Zero();                // [N, Nm] external wrench on the end effector
  double gripper_width = 0.0;                 // [m] distance between the fingers
};

// End-effector twist J dq: linear [m/s], angular [rad/s], base frame.
inline Vec6 tcp_twist(const State& state) noexcept { return state.zero_jacobian * state.dq; }

enum class Mode : std::uint8_t {
  kHold,                 // stay where the arm was when the mode began
  kCartesianImpedance,   // follow Target::pose
  kJointImpedance,       // follow Target::q
  kJointMove,            // minimum-jerk motion to Target::q, then hold there
  kCartesianWrench,      // push with Target::wrench
  kGravityCompensation,  // no torque but damping: hand guiding
};

constexpr const char* to_string(Mode mode) noexcept {
  switch (mode) {
    case Mode::kHold:
      return "hold";
    case Mode::kCartesianImpedance:
      return "cartesian_impedance";
    case Mode::kJointImpedance:
      return "joint_impedance";
    case Mode::kJointMove:
      return "joint_move";
    case Mode::kCartesianWrench:
      return "cartesian_wrench";
    case Mode::kGravityCompensation:
      return "gravity_compensation";
  }
  return "unknown";
}

// Whose targets the 1 kHz loop follows.
enum class Source : std::uint8_t { kPolicy, kOperator };

constexpr const char* to_string(Source source) noexcept {
  return source == Source::kPolicy ? "policy" : "operator";
}

// What the policy (or a person) wants from the 1 kHz loop.
struct Target {
  Mode mode = Mode::kHold;
  Pose pose;                         // for kCartesianImpedance
  Vec7 q = Vec7::Zero();             // [rad] for joint modes
  Vec6 wrench = Vec6::Zero();        // [N, Nm] base frame, for kCartesianWrench
  double duration_s = 0.0;           // [s] of a kJointMove; 0: as fast as the limits allow
  std::int64_t deadline_ns = 0;      // robot time after which the target is stale -> hold; 0: none
  std::uint64_t sequence = 0;        // grows with every new target of its source
  std::uint64_t policy_version = 0;  // 0: not from a policy
};

}  // namespace serl_rt
