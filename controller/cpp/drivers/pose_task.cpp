#include "drivers/pose_task.hpp"

#include <utility>

namespace serl_rt {
namespace {

void copy_to(const Vec3& value, std::span<float> out) noexcept {
  Eigen::Map<Eigen::Vector3f>(out.data()) = value.cast<float>();
}

class PoseTask final : public Task {
 public:
  PoseTask(const PoseTaskConfig& config, std::function<void()> place_arm)
      : config_(config), place_arm_(std::move(place_arm)) {}

  void reset(std::uint64_t) override {
    if (place_arm_) place_arm_();
  }

  const std::vector<TaskField>& fields() const noexcept override { return fields_; }

  void snapshot() noexcept override {}

  void observe(std::size_t field, const State& state,
               std::span<float> out) const noexcept override {
    copy_to(field == 0 ? config_.position : config_.position - state.O_T_EE.position, out);
  }

  Outcome evaluate(const State& state) const noexcept override {
    const Vec3 error = config_.position - state.O_T_EE.position;
    const bool there = within(error, config_.position_tolerance);
    Outcome outcome;
    outcome.success = there && turned(state.O_T_EE.orientation);
    outcome.reward = outcome.success ? 1.0 : 0.0;
    if (!config_.sparse_reward) outcome.reward -= 5.0 * error.norm();
    return outcome;
  }

 private:
  static bool within(const Vec3& error, const Vec3& tolerance) noexcept {
    return (error.cwiseAbs().array() < tolerance.array()).all();
  }

  bool turned(const Quat& orientation) const noexcept {
    if (!config_.orientation) return true;
    const Eigen::AngleAxisd error(*config_.orientation * orientation.conjugate());
    return within(error.angle() * error.axis(), config_.rotation_tolerance);
  }

  PoseTaskConfig config_;
  std::function<void()> place_arm_;
  std::vector<TaskField> fields_{{"goal_position", 3}, {"tcp_to_goal", 3}};
};

}  // namespace

std::unique_ptr<Task> make_pose_task(const PoseTaskConfig& config,
                                     std::function<void()> place_arm) {
  return std::make_unique<PoseTask>(config, std::move(place_arm));
}

}  // namespace serl_rt
