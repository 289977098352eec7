// A robot on which an environment can be stepped without a simulation.
#pragma once

#include "drivers/gripper.hpp"
#include "policy/control_port.hpp"
#include "sim_support.hpp"

namespace serl_rt::test {

// Nothing moves; counts the targets.
class IdlePort final : public ControlPort {
 public:
  IdlePort() {
    state_.O_T_EE = {Vec3(0.5, 0.0, 0.2), Quat(0.0, 1.0, 0.0, 0.0)};
    state_.q = home();
  }
  const State& state() noexcept override { return state_; }
  void set_target(Target) noexcept override { ++targets; }
  bool advance() noexcept override { return true; }
  bool go_to_start(const Vec7&, double) noexcept override { return true; }
  bool stopped() const noexcept override { return false; }
  bool ready() const noexcept override { return true; }
  Gripper& gripper() noexcept override { return gripper_; }

  int targets = 0;

 private:
  State state_;
  NoGripper gripper_;
};

}  // namespace serl_rt::test
