// The command set_load: what the arm carries, changed while the controller runs.
#pragma once

#include <string>

#include "app/robot_connection.hpp"
#include "core/controller.hpp"
#include "drivers/robot_config.hpp"
#include "link/command.hpp"

namespace serl_rt {

inline constexpr double kMaxLoadMass = 20.0;     // [kg] of any arm; what this one takes, it says
inline constexpr double kMaxLoadCentre = 1.0;    // [m] each axis
inline constexpr double kMaxLoadInertia = 10.0;  // [kg m^2]

// Empty, or why no body has this inertia: it must be symmetric and positive semi-definite, and zero
// where the mass is.
std::string load_problem(const RobotLoad& load);

// Null: as the robot has it.
Value load_value(const LoadStatus& load);

// Begins a change, which is over when load.done of the status has reached the number returned.
// Both must outlive the command.
CommandSpec load_command(RobotConnection& connection, const Controller& controller);

}  // namespace serl_rt
