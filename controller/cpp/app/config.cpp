#include "app/config.hpp"

#include <algorithm>

#include "app/config_control.hpp"
#include "app/config_table.hpp"
#include "core/error.hpp"

namespace serl_rt {
namespace {

constexpr const char* kClassifier = "classifier";

const std::vector<std::string>& reward_kinds() {
  static const std::vector<std::string> kinds = {"dense", "sparse", kClassifier};
  return kinds;
}

// The kind of reward that was chosen: dense, sparse or classifier; empty: the file's.
std::string chosen_kind(const RewardChoice& choice) {
  const auto& kinds = reward_kinds();
  if (!choice.kind.empty() && std::find(kinds.begin(), kinds.end(), choice.kind) == kinds.end()) {
    throw Error("reward '" + choice.kind + "' is not one of dense, sparse, classifier");
  }
  if (choice.classifier.empty()) return choice.kind;
  if (!choice.kind.empty() && choice.kind != kClassifier) {
    throw Error("a reward classifier was given, but also reward '" + choice.kind +
                "': leave one of them out");
  }
  return kClassifier;
}

// Checked also while another reward is chosen.
RewardClassifierConfig read_classifier(ConfigTable table, const std::filesystem::path& file) {
  RewardClassifierConfig config;
  config.model = table.text("model", {}, "");
  if (!config.model.empty()) config.model = file.parent_path() / config.model;
  if (table.has("threshold")) config.threshold = table.number("threshold", 0.001, 0.999);
  table.finish();
  return config;
}

// The classifier that decides about the reward; empty: none.
std::optional<RewardClassifierConfig> choose_classifier(RewardClassifierConfig config,
                                                        const RewardChoice& choice,
                                                        const std::string& kind,
                                                        const std::filesystem::path& file) {
  if (kind != kClassifier) return std::nullopt;
  if (!choice.classifier.empty()) config.model = choice.classifier;
  if (config.model.empty()) {
    throw Error(file.string() +
                ": reward = \"classifier\" needs its model: give model in [reward_classifier], or "
                "--reward-classifier FILE");
  }
  return config;
}

EpisodeConfig read_episode(ConfigTable table, ConfigTable reset, std::string& reward,
                           SimTaskConfig& sim) {
  EpisodeConfig episode;
  episode.max_steps = table.integer("max_steps", 1, 1'000'000, 100);
  const std::string file_reward = table.text("reward", reward_kinds(), "sparse");
  if (reward.empty()) reward = file_reward;
  sim.sparse_reward = reward != "dense";
  // With a sparse reward nothing is left to gain after success.
  episode.terminate_on_success = table.boolean("terminate_on_success", false) || sim.sparse_reward;
  episode.grasp_penalty = table.number("grasp_penalty", -1e3, 0.0, episode.grasp_penalty);
  table.finish();
  episode.reset_q = reset.vector<7>("q", -kFullTurn, kFullTurn);
  episode.reset_duration_s = reset.number("duration_s", 0.1, 60.0, 3.0);
  episode.reset_gripper = reset.number("gripper", 0.0, 1.0, episode.reset_gripper);
  reset.finish();
  return episode;
}

std::vector<std::string> bundled_tasks(const std::filesystem::path& tasks_dir) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(tasks_dir, ignored)) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::filesystem::path find_task(const std::string& name_or_path,
                                const std::filesystem::path& tasks_dir) {
  const bool is_path = name_or_path.find('/') != std::string::npos ||
                       std::filesystem::path(name_or_path).extension() == ".toml";
  if (is_path) return name_or_path;
  std::string known;
  for (const std::string& name : bundled_tasks(tasks_dir)) {
    if (name == name_or_path) return tasks_dir / (name + ".toml");
    known += (known.empty() ? "" : ", ") + name;
  }
  throw Error("unknown task '" + name_or_path +
              "': give the path of a .toml file, or one of the bundled tasks: " +
              (known.empty() ? "none in " + tasks_dir.string() : known));
}

TaskConfig load_task_config(const std::filesystem::path& file, const RewardChoice& choice) {
  ConfigTable root = ConfigTable::from_file(file);
  TaskConfig task;
  task.file = file;
  task.name = root.text("name");
  try {
    task.contract = contract_from_json(root.table("contract").json("name", task.name));
  } catch (const Error& error) {
    throw Error(file.string() + ": contract: " + error.what());
  }
  std::string reward = chosen_kind(choice);
  task.episode = read_episode(root.table("episode"), root.table("reset"), reward, task.sim);
  task.reward_classifier = choose_classifier(read_classifier(root.table("reward_classifier"), file),
                                             choice, reward, file);
  task.controller = read_control(root, 1.0 / task.contract.policy_rate_hz);
  ConfigTable cameras = root.table("cameras");
  task.episode.max_image_age_s =
      cameras.number("max_age_s", 0.001, 10.0, task.episode.max_image_age_s);
  // Which device gives which image: for serl-rt cameras, which checks it.
  for (ConfigTable source : cameras.tables("sources")) source.json("", "");
  cameras.finish();
  root.table("franka_env");  // Python's
  read_sim(root.table("sim"), task.sim);
  if (root.has("pose_reward")) {
    task.pose_reward = read_pose_reward(root.table("pose_reward"), task.sim.sparse_reward);
  }
  read_robot(root.table("robot"), task.robot, task.recovery);
  task.gripper = read_gripper(root.table("gripper"));
  root.finish();

  task.controller.workspace.low = Eigen::Map<const Vec3>(task.contract.workspace_low.data());
  task.controller.workspace.high = Eigen::Map<const Vec3>(task.contract.workspace_high.data());
  for (const std::string& problem : {validate(task.controller), validate(task.sim)}) {
    if (!problem.empty()) throw Error(file.string() + ": " + problem);
  }
  return task;
}

}  // namespace serl_rt
