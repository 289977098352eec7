// One robot cell behind its interfaces: the arm, its gripper, and what judges an episode there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/config.hpp"
#include "app/options.hpp"
#include "drivers/camera.hpp"
#include "drivers/driver.hpp"
#include "drivers/sim_driver.hpp"
#include "drivers/task.hpp"

namespace serl_rt {

// The members are destroyed in the reverse order: the others use the driver.
struct Robot {
  std::unique_ptr<RobotDriver> driver;
  std::unique_ptr<Gripper> gripper;
  std::unique_ptr<Cameras> cameras;  // null: the task sees no images
  std::unique_ptr<Task> task;        // null: no reward, nothing to observe but the robot
};

// The gripper that is used: the task file's, unless an option names another kind, whose other
// settings are the defaults. Throws Error: an address that is missing, or for a kind that has none.
GripperConfig chosen_gripper(const Options& options, const TaskConfig& task);

// The robot that the options name; `task` has its chosen_gripper(). Throws Error: an unknown
// driver, a model or library is missing. Does not connect to anything yet.
Robot make_robot(const Options& options, const TaskConfig& task);

// What decides about the reward in the task's place; null: nothing does. Throws Error.
std::unique_ptr<RewardClassifier> make_reward_classifier(const TaskConfig& task);

// What judges the task's episodes; `sim` null: not a simulated arm. Must not outlive `sim`.
std::unique_ptr<Task> make_episode_task(const TaskConfig& task, SimDriver* sim);

}  // namespace serl_rt
