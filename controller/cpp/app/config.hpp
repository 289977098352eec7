// A task file as the controller uses it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/config_cell.hpp"
#include "core/controller_config.hpp"
#include "policy/contract.hpp"
#include "policy/environment.hpp"
#include "policy/reward_classifier.hpp"

namespace serl_rt {

struct TaskConfig {
  std::string name;
  std::filesystem::path file;
  Contract contract;
  EpisodeConfig episode;
  ControllerConfig controller;
  SimTaskConfig sim;  // task empty: nothing simulated but the arm
  std::optional<PoseTaskConfig> pose_reward;
  std::optional<RewardClassifierConfig> reward_classifier;  // it decides; else the task does
  RobotConfig robot;
  RecoveryLimit recovery;
  GripperConfig gripper;
};

// The file of a bundled task (`pick_cube`) or of a path. Throws Error that lists the bundled ones.
std::filesystem::path find_task(const std::string& name_or_path,
                                const std::filesystem::path& tasks_dir);

// What decides about reward in place of what the task file says.
struct RewardChoice {
  std::string kind;                  // dense | sparse | classifier; empty: the file's
  std::filesystem::path classifier;  // empty: the file's [reward_classifier] model
};

// Reads and checks a task file. A classifier's model is not opened yet.
// Throws Error naming the file, the key, the value and what is allowed.
TaskConfig load_task_config(const std::filesystem::path& file, const RewardChoice& reward = {});

}  // namespace serl_rt
