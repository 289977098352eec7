// The gripper for other programs: move, grasp, stop, activate, state. No command waits for the
// fingers; `done` in the state tells.
#pragma once

#include <functional>
#include <vector>

#include "drivers/gripper.hpp"
#include "link/command.hpp"

namespace serl_rt {

// The gripper must outlive the commands. `allow` is called before the fingers move and throws Error
// when they may not.
std::vector<CommandSpec> gripper_commands(Gripper& gripper, const std::function<void()>& allow);

}  // namespace serl_rt
