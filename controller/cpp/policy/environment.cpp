#include "policy/environment.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

// A target outlives its period by one more: a policy that is late once does not stop the arm, one
// that stalls does.
constexpr int kDeadlinePeriods = 2;

void check_cameras(const Contract& contract, const Cameras* cameras) {
  const std::vector<CameraImage> none;
  const std::vector<CameraImage>& images = cameras == nullptr ? none : cameras->images();
  for (std::size_t i = 0; i < contract.images.size(); ++i) {
    const ImageField& wanted = contract.images[i];
    const auto size = [](const auto& image) {
      return std::to_string(image.height) + " x " + std::to_string(image.width);
    };
    if (i >= images.size() || images[i].name != wanted.name) {
      throw Error("contract: image '" + wanted.name + "': there is no such camera");
    }
    if (images[i].height != wanted.height || images[i].width != wanted.width) {
      throw Error("contract: image '" + wanted.name + "' is " + size(wanted) +
                  ", but the camera gives " + size(images[i]) + " (height x width)");
    }
  }
}

}  // namespace

Environment::Environment(const Contract& contract, const EpisodeConfig& config,
                         const RobotLimits& limits, ControlPort& port, Task* task, Cameras* cameras,
                         RewardClassifier* classifier)
    : config_(config),
      period_ns_(static_cast<std::int64_t>(std::llround(1e9 / contract.policy_rate_hz))),
      port_(port),
      task_(task),
      builder_(contract, task == nullptr ? std::vector<TaskField>{} : task->fields()),
      mapper_(contract, joint_range(limits)),
      observation_(builder_.size()),
      cameras_(contract.images.empty() ? nullptr : cameras),
      classifier_(classifier),
      image_ages_ns_(contract.images.size()) {
  check_cameras(contract, cameras);
  if (cameras_ == nullptr) return;
  images_.resize(image_bytes(cameras_->images()));
  previous_images_.resize(images_.size());
}

bool Environment::reset(std::uint64_t seed) {
  if (task_ != nullptr) task_->reset(seed);
  port_.gripper().command(config_.reset_gripper);  // the task opened it where it placed the arm
  gripper_command_ = config_.reset_gripper;
  if (cameras_ != nullptr) cameras_->begin_episode(seed);
  if (!port_.go_to_start(config_.reset_q, config_.reset_duration_s)) return false;
  const State& state = port_.state();
  mapper_.reset(state);
  builder_.reset(state);
  step_ = 0;
  judging_s_ = 0.0;
  observe();
  return true;
}

void Environment::observe() {
  const State& state = port_.state();
  if (task_ != nullptr) task_->snapshot();
  time_ns_ = state.time_ns;
  builder_.build(state, port_.gripper().opening(), gripper_command_, task_, observation_);
  look();
}

void Environment::look() {
  if (cameras_ == nullptr) return;
  std::swap(images_, previous_images_);
  cameras_->read(images_, image_ages_ns_);
  const auto oldest = std::max_element(image_ages_ns_.begin(), image_ages_ns_.end());
  image_age_s_ = static_cast<double>(*oldest) * 1e-9;
}

void Environment::execute(std::span<const float> action, std::uint64_t policy_version,
                          Source chosen_by, StepResult& result) {
  if (chosen_by == Source::kPolicy && !images_fresh()) {
    result.fault = Fault::kImageStale;
    result.fault_value = image_age_s_;
    result.fault_limit = config_.max_image_age_s;
    return;
  }
  const MappedAction mapped = mapper_.map(action, port_.state(), gripper_command_);
  if (mapped.fault) {
    result.fault = mapped.fault;
    result.fault_value = mapped.refused_value;
    return;
  }
  target_ = mapped.target;
  target_.policy_version = policy_version;
  target_.deadline_ns = port_.state().time_ns + kDeadlinePeriods * period_ns_;
  port_.set_target(target_);
  if (mapped.gripper_command != gripper_command_) {
    result.grasp_penalty = static_cast<float>(config_.grasp_penalty);
  }
  gripper_command_ = mapped.gripper_command;
  port_.gripper().command(gripper_command_);
}

// Puts the classifier's answer in place of the task's; false: it has none.
bool Environment::judge(Outcome& outcome) noexcept {
  const auto begin = std::chrono::steady_clock::now();
  const std::optional<bool> seen =
      images_fresh() ? classifier_->success(images_) : std::optional<bool>();
  judging_s_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!seen) {
    ++tally_.unjudged;
  } else if (task_ != nullptr) {
    ++(outcome.success == *seen ? tally_.agreements : tally_.disagreements);
  }
  outcome.success = seen.value_or(false);
  outcome.reward = outcome.success ? 1.0 : 0.0;
  return seen.has_value();
}

std::optional<StepResult> Environment::step(std::span<const float> action,
                                            std::uint64_t policy_version, Source chosen_by) {
  StepResult result;
  execute(action, policy_version, chosen_by, result);
  if (!port_.advance()) return std::nullopt;
  observe();
  ++step_;
  Outcome outcome = task_ == nullptr ? Outcome{} : task_->evaluate(port_.state());
  if (classifier_ != nullptr) result.judged = judge(outcome);
  result.reward = static_cast<float>(outcome.reward);
  result.success = outcome.success;
  result.terminated = outcome.failure || (outcome.success && config_.terminate_on_success);
  // Nothing that a stopped arm does follows from the policy's actions.
  result.truncated = !result.terminated && (step_ >= config_.max_steps || port_.stopped());
  return result;
}

}  // namespace serl_rt
