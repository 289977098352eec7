#include "app/sim_env.hpp"

#include <string>

#include "app/cameras.hpp"
#include "core/error.hpp"

namespace serl_rt {

SimEnv::SimEnv(const TaskConfig& task, const std::filesystem::path& assets_dir)
    : task_config_(task),
      driver_({assets_dir / task.sim.model, Pacing::kLockstep, task.episode.reset_q}),
      gripper_(driver_),
      controller_(task.controller),
      loop_(driver_, controller_),
      port_(loop_, controller_, gripper_, task.contract.policy_rate_hz, stop_),
      task_(make_episode_task(task, &driver_)),
      cameras_(make_sim_cameras(task, assets_dir, driver_, Pacing::kLockstep)),
      classifier_(make_reward_classifier(task)),
      environment_(task.contract, task.episode, task.controller.limits, port_, task_.get(),
                   cameras_.get(), classifier_.get()) {}

void SimEnv::reset(std::uint64_t seed) {
  if (!environment_.reset(seed)) throw Error("the simulation diverged while an episode began");
}

StepResult SimEnv::step(std::span<const float> action) {
  const auto result = environment_.step(action, 0);
  if (!result) throw Error("the simulation diverged: call reset() to begin a new episode");
  if (result->fault) {
    throw Error("the action was refused (" + std::string(to_string(*result->fault)) +
                "): every component must be finite and within [-1, 1]");
  }
  if (!result->judged) throw Error("the reward classifier failed: see its ONNX file");
  return *result;
}

std::vector<float> SimEnv::task_value(std::size_t field) noexcept {
  std::vector<float> value(static_cast<std::size_t>(task_fields()[field].size));
  task_->observe(field, port_.state(), value);
  return value;
}

std::span<const double> SimEnv::qpos() noexcept {
  return {driver_.scene().qpos.data(), driver_.qpos_size()};
}

}  // namespace serl_rt
