// The Franka hand, spoken to directly over its network protocol (version 3: Panda and FR3).
//
// libfranka's and pylibfranka's Gripper block until a motion has ended, and the latter holds the
// GIL meanwhile: a policy could not change its mind. Here a new command stops the one before.
#pragma once

#include <memory>
#include <string>

#include "drivers/gripper_config.hpp"
#include "drivers/gripper_worker.hpp"

namespace serl_rt {

inline constexpr double kFrankaHandMaxWidth = 0.08;  // [m] until the hand says it

std::unique_ptr<GripperHardware> make_franka_hand(const GripperConfig& config,
                                                  const std::string& host);

}  // namespace serl_rt
