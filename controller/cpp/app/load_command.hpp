// The command set_load: what the arm carries, changed while the controller runs.
#pragma once

#include "app/robot_connection.hpp"
#include "core/controller.hpp"
#include "drivers/robot_config.hpp"
#include "link/command.hpp"

namespace serl_rt {

// Null: as the robot has it.
Value load_value(const LoadStatus& load);

// Begins a change, which is over when load.done of the status has reached the number returned.
// Both must outlive the command.
CommandSpec load_command(RobotConnection& connection, const Controller& controller);

}  // namespace serl_rt
