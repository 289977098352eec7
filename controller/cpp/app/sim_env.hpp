// The simulated arm in lockstep as one object: what the gymnasium environments step.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "app/config.hpp"
#include "app/ports.hpp"
#include "app/robot.hpp"
#include "core/control_loop.hpp"
#include "drivers/camera.hpp"
#include "drivers/sim_driver.hpp"
#include "policy/environment.hpp"

namespace serl_rt {

// One thread at a time.
class SimEnv {
 public:
  // Throws Error when the task's model cannot be used.
  SimEnv(const TaskConfig& task, const std::filesystem::path& assets_dir);

  // Throws Error when the simulation has diverged.
  void reset(std::uint64_t seed);
  StepResult step(std::span<const float> action);

  std::span<const float> observation() const noexcept { return environment_.observation(); }
  const std::vector<ObservationBuilder::Slice>& layout() const noexcept {
    return environment_.builder().layout();
  }
  // The contract's images, one after the other.
  std::span<const std::byte> images() const noexcept { return environment_.images(); }
  const Contract& contract() const noexcept { return task_config_.contract; }

  // One of the task's own fields now, whether the contract shows it or not.
  std::vector<float> task_value(std::size_t field) noexcept;
  const std::vector<TaskField>& task_fields() const noexcept { return task_->fields(); }

  // The whole model's positions, in MuJoCo's order, for rendering.
  std::span<const double> qpos() noexcept;
  const FaultCounters& faults() const noexcept { return controller_.faults(); }
  std::uint64_t ticks() const noexcept { return loop_.timing().ticks; }

 private:
  TaskConfig task_config_;
  std::atomic<bool> stop_ = false;
  SimDriver driver_;
  SimGripper gripper_;
  Controller controller_;
  ControlLoop loop_;
  LockstepPort port_;
  std::unique_ptr<Task> task_;
  std::unique_ptr<Cameras> cameras_;
  std::unique_ptr<RewardClassifier> classifier_;
  Environment environment_;
};

}  // namespace serl_rt
