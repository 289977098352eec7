// A task file as the controller uses it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/config_cell.hpp"
#include "core/controller_config.hpp"
#include "policy/contract.hpp"
#include "policy/environment.hpp"

namespace serl_rt {

struct TaskConfig {
  std::string name;
  std::filesystem::path file;
  Contract contract;
  EpisodeConfig episode;
  ControllerConfig controller;
  SimTaskConfig sim;  // task empty: nothing simulated but the arm
  std::optional<PoseTaskConfig> pose_reward;
  RobotConfig robot;
  RecoveryLimit recovery;
  GripperConfig gripper;
};

// The file of a bundled task (`pick_cube`) or of a path. Throws Error that lists the bundled ones.
std::filesystem::path find_task(const std::string& name_or_path,
                                const std::filesystem::path& tasks_dir);

// Reads and checks a task file; `reward` ("dense", "sparse" or empty) overrides the file's.
// Throws Error naming the file, the key, the value and what is allowed.
TaskConfig load_task_config(const std::filesystem::path& file, const std::string& reward = "");

}  // namespace serl_rt
