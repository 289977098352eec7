// One episode at a time: observation -> (somebody's action) -> target -> one policy period ->
// next observation and outcome. The embedded policy loop and the gymnasium environments step this.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/fault.hpp"
#include "core/limits.hpp"
#include "drivers/camera.hpp"
#include "drivers/task.hpp"
#include "policy/action.hpp"
#include "policy/contract.hpp"
#include "policy/control_port.hpp"
#include "policy/observation.hpp"
#include "policy/reward_classifier.hpp"

namespace serl_rt {

struct EpisodeConfig {
  int max_steps = 100;
  bool terminate_on_success = false;
  double grasp_penalty = 0.0;     // of a step whose action changes the gripper's command
  Vec7 reset_q = Vec7::Zero();    // [rad] where an episode starts
  double reset_duration_s = 3.0;  // [s] minimum-jerk move to reset_q, real time only
  double reset_gripper = 1.0;     // opening that an episode starts with, 0 closed to 1 open
  double max_image_age_s = 0.2;   // [s] a policy does not act on an older image: the arm holds
};

struct StepResult {
  float reward = 0.0F;
  bool terminated = false;  // success or failure: nothing to bootstrap from
  bool truncated = false;   // time limit, or the arm was stopped
  bool success = false;
  bool judged = true;          // false: the classifier could not say; not to be learned from
  float grasp_penalty = 0.0F;  // beside the reward: only a critic of the gripper's commands sees it
  std::optional<Fault> fault;  // the action was refused; the arm follows its last target
  double fault_value = 0.0;    // what was refused
  double fault_limit = 1.0;    // what is allowed
};

// What a reward classifier said in steps that a task could judge, too, and how often it had nothing
// to say: images too old, or a run that failed.
struct ClassifierTally {
  std::uint64_t agreements = 0;
  std::uint64_t disagreements = 0;
  std::uint64_t unjudged = 0;
};

// Not thread safe: belongs to the policy thread.
class Environment {
 public:
  // `task` may be null (no reward, no pushed observations), and so may `cameras` when the contract
  // has no images; they must outlive this. With a `classifier`, not null, success and reward are
  // its: the task's are only compared with them. Throws Error when the cameras do not give the
  // images of the contract.
  Environment(const Contract& contract, const EpisodeConfig& config, const RobotLimits& limits,
              ControlPort& port, Task* task, Cameras* cameras = nullptr,
              RewardClassifier* classifier = nullptr);

  // Brings arm and objects to an episode's start. False: the robot is gone or the program stops.
  bool reset(std::uint64_t seed);

  // Executes one action. A policy's is refused when an image that it was chosen by is too old; a
  // person looks at the arm itself. Empty: the robot is gone or the program stops.
  std::optional<StepResult> step(std::span<const float> action, std::uint64_t policy_version,
                                 Source chosen_by = Source::kPolicy);

  // False while the robot is away; an episode would be over at once.
  bool ready() const noexcept { return port_.ready(); }

  // Flat observation of now, in the contract's order.
  std::span<const float> observation() const noexcept { return observation_; }

  // The contract's images of now and of the step before, one after the other; uint8 RGB.
  std::span<const std::byte> images() const noexcept { return images_; }
  std::span<const std::byte> previous_images() const noexcept { return previous_images_; }
  // False: an image of now is missing or older than allowed.
  bool images_fresh() const noexcept { return image_age_s_ <= config_.max_image_age_s; }

  // [s] that the classifier took to judge the images of now, before a policy sees them; 0: it was
  // not asked.
  double judging_s() const noexcept { return judging_s_; }
  const ClassifierTally& classifier_tally() const noexcept { return tally_; }

  std::int64_t time_ns() const noexcept { return time_ns_; }
  const ObservationBuilder& builder() const noexcept { return builder_; }

 private:
  void observe();
  void look();
  bool judge(Outcome& outcome) noexcept;
  void execute(std::span<const float> action, std::uint64_t policy_version, Source chosen_by,
               StepResult& result);

  EpisodeConfig config_;
  std::int64_t period_ns_;
  ControlPort& port_;
  Task* task_;
  ObservationBuilder builder_;
  ActionMapper mapper_;
  std::vector<float> observation_;
  Cameras* cameras_;
  RewardClassifier* classifier_;
  ClassifierTally tally_;
  double judging_s_ = 0.0;
  std::vector<std::byte> images_;
  std::vector<std::byte> previous_images_;
  std::vector<std::int64_t> image_ages_ns_;
  double image_age_s_ = 0.0;  // of the oldest of now
  Target target_;
  double gripper_command_ = 1.0;
  std::int64_t time_ns_ = 0;
  int step_ = 0;
};

}  // namespace serl_rt
