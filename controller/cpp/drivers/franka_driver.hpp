// A Franka arm through libfranka: FR3 with libfranka 0.18 or newer, Panda with 0.9.x.
#pragma once

#include <memory>

#include "drivers/driver.hpp"
#include "drivers/robot_config.hpp"

namespace serl_rt {

// Does not connect yet. Throws Error when this build is without libfranka.
std::unique_ptr<RobotDriver> make_franka_driver(const RobotConfig& config);

}  // namespace serl_rt
