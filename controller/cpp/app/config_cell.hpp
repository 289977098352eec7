// The tables of a task file about the robot's cell: the simulated scene, the pose that is rewarded,
// the robot and its gripper. All throw Error naming the file, the key and what is allowed.
#pragma once

#include "app/config_table.hpp"
#include "drivers/gripper_config.hpp"
#include "drivers/pose_task.hpp"
#include "drivers/robot_config.hpp"
#include "drivers/sim_tasks.hpp"

namespace serl_rt {

// More reflexes than these in the window, and a person has to look before the arm moves again.
struct RecoveryLimit {
  int reflexes = 5;
  double window_s = 60.0;
};

void read_sim(ConfigTable table, SimTaskConfig& sim);
PoseTaskConfig read_pose_reward(ConfigTable table, bool sparse);
void read_robot(ConfigTable table, RobotConfig& robot, RecoveryLimit& recovery);
GripperConfig read_gripper(ConfigTable table);

}  // namespace serl_rt
