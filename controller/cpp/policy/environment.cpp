#include "policy/environment.hpp"

#include <cmath>

namespace serl_rt {
namespace {

// A target outlives its period by one more: a policy that is late once does not stop the arm, one
// that stalls does.
constexpr int kDeadlinePeriods = 2;

}  // namespace

Environment::Environment(const Contract& contract, const EpisodeConfig& config,
                         const RobotLimits& limits, ControlPort& port, Task* task)
    : config_(config),
      period_ns_(static_cast<std::int64_t>(std::llround(1e9 / contract.policy_rate_hz))),
      port_(port),
      task_(task),
      builder_(contract, task == nullptr ? std::vector<TaskField>{} : task->fields()),
      mapper_(contract, joint_range(limits)),
      observation_(builder_.size()) {}

bool Environment::reset(std::uint64_t seed) {
  port_.gripper().command(1.0);
  gripper_command_ = 1.0;
  if (task_ != nullptr) task_->reset(seed);
  if (!port_.go_to_start(config_.reset_q, config_.reset_duration_s)) return false;
  const State& state = port_.state();
  mapper_.reset(state);
  builder_.reset(state);
  step_ = 0;
  observe();
  return true;
}

void Environment::observe() {
  const State& state = port_.state();
  if (task_ != nullptr) task_->snapshot();
  time_ns_ = state.time_ns;
  builder_.build(state, port_.gripper().opening(), gripper_command_, task_, observation_);
}

std::optional<StepResult> Environment::step(std::span<const float> action,
                                            std::uint64_t policy_version) {
  StepResult result;
  const MappedAction mapped = mapper_.map(action, port_.state(), gripper_command_);
  if (mapped.fault) {
    result.fault = mapped.fault;
    result.fault_value = mapped.refused_value;
  } else {
    target_ = mapped.target;
    target_.policy_version = policy_version;
    target_.deadline_ns = port_.state().time_ns + kDeadlinePeriods * period_ns_;
    port_.set_target(target_);
    gripper_command_ = mapped.gripper_command;
    port_.gripper().command(gripper_command_);
  }
  if (!port_.advance()) return std::nullopt;
  observe();
  ++step_;
  const Outcome outcome = task_ == nullptr ? Outcome{} : task_->evaluate(port_.state());
  result.reward = static_cast<float>(outcome.reward);
  result.success = outcome.success;
  result.terminated = outcome.failure || (outcome.success && config_.terminate_on_success);
  // Nothing that a stopped arm does follows from the policy's actions.
  result.truncated = !result.terminated && (step_ >= config_.max_steps || port_.stopped());
  return result;
}

}  // namespace serl_rt
