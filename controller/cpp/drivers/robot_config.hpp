// How a real arm is set up before it takes torques: the [robot] table of a task file.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/types.hpp"

namespace serl_rt {

struct RobotLoad {
  double mass = 0.0;                // [kg]
  Vec3 centre = Vec3::Zero();       // [m] centre of mass, in the flange frame
  std::array<double, 9> inertia{};  // [kg m^2] about the centre of mass, 3x3
};

inline constexpr double kMaxLoadMass = 20.0;     // [kg] of any arm; what this one takes, it says
inline constexpr double kMaxLoadCentre = 1.0;    // [m] each axis
inline constexpr double kMaxLoadInertia = 10.0;  // [kg m^2]

// Empty, or why no body has this inertia: it must be symmetric and positive semi-definite, and zero
// where the mass is.
std::string load_problem(const RobotLoad& load);

struct RobotConfig {
  std::string ip;  // host name or address

  // External torques and forces above which the robot reports a contact, and above which it stops
  // itself (a reflex). Defaults: libfranka's usual contact thresholds; twice as much at the strong
  // joints and in force before a stop, because contact is what these tasks are about.
  Vec7 contact_torque{20.0, 20.0, 18.0, 18.0, 16.0, 14.0, 12.0};    // [Nm]
  Vec7 collision_torque{40.0, 40.0, 36.0, 36.0, 16.0, 14.0, 12.0};  // [Nm]
  Vec6 contact_force{20.0, 20.0, 20.0, 25.0, 25.0, 25.0};           // [N, Nm] base frame
  Vec6 collision_force{40.0, 40.0, 40.0, 25.0, 25.0, 25.0};         // [N, Nm]

  // Unset: as the robot has them (Desk).
  std::optional<RobotLoad> load;  // what the hand carries, without the end effector itself
  std::optional<Pose> ee;         // end effector in the nominal end effector frame (NE_T_EE)
};

}  // namespace serl_rt
