// What a run of the controller amounted to, as JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "app/policy_loop.hpp"
#include "app/robot_connection.hpp"
#include "core/control_loop.hpp"
#include "core/fault.hpp"
#include "link/link.hpp"
#include "policy/policy_manager.hpp"

namespace serl_rt {

struct Summary {
  std::string task;
  std::string contract_id;
  std::string pacing;
  std::uint64_t seed = 0;
  double wall_s = 0.0;
  std::vector<EpisodeResult> episodes;
  std::uint64_t steps = 0;
  std::uint64_t late_steps = 0;  // policy instants missed, real time only
  LoopTiming timing;
  RobotStatus robot;
  FaultSnapshot faults{};
  std::optional<ClassifierTally> classifier;  // empty: the task decided about the reward
  PolicyStatus policies;
  LinkStats link;                        // zero without a learner
  bool acknowledged = true;              // the learner has everything
  std::vector<std::string> not_granted;  // what the operating system refused
};

// One line for people: episodes, success, rate.
std::string headline(const Summary& summary);

std::string to_json(const Summary& summary);

// Writes the JSON and replaces the file in one step. Throws Error when it cannot.
void write_summary(const Summary& summary, const std::filesystem::path& file);

}  // namespace serl_rt
