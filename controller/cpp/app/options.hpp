// What the command line of the controller says, checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "drivers/driver.hpp"
#include "drivers/robot_config.hpp"

namespace serl_rt {

using DriverFactory = std::function<std::unique_ptr<RobotDriver>(const RobotConfig&)>;

struct Options {
  std::string task;                // name of a bundled task or path of a task file
  std::string driver = "sim";      // which robot
  std::string robot_ip;            // overrides the task file's
  std::string gripper;             // kind; overrides the task file's table; empty: as there
  std::string gripper_address;     // the same
  bool lockstep = false;           // simulated time instead of wall clock
  std::string learner;             // endpoint; empty: no learner
  bool manual = false;             // start paused; a policy is not needed
  std::filesystem::path policy;    // fixed policy file; empty: from the learner or the store
  std::filesystem::path policies;  // folder of the last good policies
  std::string reward;              // overrides the task file: dense | sparse | classifier
  std::filesystem::path reward_classifier;  // ONNX file; overrides the task file's, and its reward
  std::uint64_t seed = 0;
  std::uint64_t episodes = 0;  // stop after; 0: no limit
  std::uint64_t steps = 0;     // stop after; 0: no limit
  int evaluate_every = 0;      // of every n episodes the last act without noise; 0: none do
  int evaluations = 1;         // how many of the n
  double noise_scale = 1.0;    // multiplies the exploration noise
  std::string cameras;         // endpoint that takes images; empty: the simulated cameras
  std::string state_address = "tcp://127.0.0.1:5590";    // "none": not published
  std::string command_address = "tcp://127.0.0.1:5591";  // "none": no commands
  std::filesystem::path keys;     // folder with CURVE keys; empty: loopback only
  std::filesystem::path summary;  // JSON written at the end
  double drain_timeout_s = 1.5;   // how long the end waits for acknowledgements
  int rt_priority = 80;           // SCHED_FIFO priority of the control thread, 0: do not ask
  int cpu = -1;                   // core of the control thread, -1: any
  bool quiet = false;

  std::string record;                   // fault | continuous | off; empty: fault in real time
  std::filesystem::path record_folder;  // empty: runs/control/TASK/recordings
  double record_before_s = 120.0;       // kept in memory, and written of the time before a cause
  double record_after_s = 5.0;          // written of the time after it
  double record_max_mb = 2000.0;        // of all recordings in the folder
  std::vector<std::string> record_on;   // names of faults; empty: the default ones
  std::map<std::string, DriverFactory> drivers;  // more than the built-in ones, by name

  std::filesystem::path tasks_dir;    // bundled task files
  std::filesystem::path assets_dir;   // MJCF of the simulated arm
  std::filesystem::path onnxruntime;  // the library; empty: looked for
};

// Parses; prints help, version or the error and returns the exit status in `exit_status` when the
// program should end. `defaults` carries what the caller already knows (folders).
std::optional<Options> parse_options(std::span<const std::string> arguments, Options defaults,
                                     int& exit_status);

}  // namespace serl_rt
