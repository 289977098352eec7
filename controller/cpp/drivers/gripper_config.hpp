// The [gripper] table of a task file, and the gripper that it describes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "drivers/gripper.hpp"

namespace serl_rt {

inline const std::vector<std::string> kGripperKinds{"none", "sim", "franka", "robotiq"};
inline const std::vector<std::string> kGripperConventions{"hil-serl", "serl", "metres"};

struct GripperConfig {
  std::string kind;  // of kGripperKinds; empty: sim for the simulated arm, else none
  // franka: host of the hand, empty: the robot's. robotiq: tcp://HOST[:PORT] of its controller or
  // rtu:DEVICE, e.g. rtu:/dev/ttyUSB0.
  std::string address;
  double speed = 0.1;         // [m/s] where a command names none
  double force = 40.0;        // [N] the same
  double max_width = 0.0;     // [m] 0: the device's
  double grasp_below = 0.25;  // opening below which a policy's command grasps (franka)
  bool activate = true;       // robotiq: activate at the start, which moves the fingers
  std::string convention;     // of kGripperConventions: of environments and HTTP; empty: hil-serl
  int unit = -1;              // robotiq: Modbus unit; -1: 9 over RTU, 0 over TCP
};

// Starts to connect in the background. `robot_host`: where a Franka hand is unless the address says
// otherwise. Throws Error: the address makes no sense. Not for kind "sim".
std::unique_ptr<Gripper> make_gripper(const GripperConfig& config, const std::string& robot_host);

}  // namespace serl_rt
