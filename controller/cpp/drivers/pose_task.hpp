// Reward by pose, as in SERL's environments for a real arm: 1 when the end effector is within a
// tolerance of a fixed pose. Nothing simulated: works on every robot.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/types.hpp"
#include "drivers/task.hpp"

namespace serl_rt {

// The [pose_reward] table of a task file. Base frame.
struct PoseTaskConfig {
  Vec3 position = Vec3::Zero();                    // [m]
  std::optional<Quat> orientation;                 // unset: any
  Vec3 position_tolerance = Vec3::Constant(0.01);  // [m] per axis
  Vec3 rotation_tolerance = Vec3::Constant(0.2);   // [rad] per axis of the base frame
  bool sparse_reward = true;  // [episode] reward; dense: less 5 per metre of distance
};

// Offers the observations goal_position and tcp_to_goal, 3 values each [m]. `place_arm`, if any, is
// called at each episode's start (a simulated arm is placed there).
std::unique_ptr<Task> make_pose_task(const PoseTaskConfig& config,
                                     std::function<void()> place_arm = nullptr);

}  // namespace serl_rt
