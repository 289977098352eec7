// Robotiq's two-finger grippers (2F-85, 2F-140) over Modbus TCP or RTU.
#pragma once

#include <memory>
#include <string>

#include "drivers/gripper_config.hpp"
#include "drivers/gripper_worker.hpp"

namespace serl_rt {

inline constexpr double kRobotiqMaxWidth = 0.085;  // [m] 2F-85

// Throws Error: the address makes no sense.
std::unique_ptr<GripperHardware> make_robotiq(const GripperConfig& config);

}  // namespace serl_rt
