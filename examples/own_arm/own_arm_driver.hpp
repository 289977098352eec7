// The driver: what SERL-RT asks of an arm, for an arm of one's own.
#pragma once

#include <exception>
#include <memory>
#include <utility>

#include "arm_hardware.hpp"
#include "drivers/driver.hpp"
#include "drivers/robot_clock.hpp"
#include "drivers/robot_config.hpp"
#include "kinematics.hpp"

namespace own_arm {

class OwnArmDriver final : public serl_rt::RobotDriver {
 public:
  // Does not connect yet.
  explicit OwnArmDriver(serl_rt::RobotConfig config) : config_(std::move(config)) {}

  // Also after the arm was lost: whatever is wrong, start anew or say who can mend it.
  serl_rt::Trouble start() override {
    try {
      hardware_ = std::make_unique<ArmHardware>(config_.ip);
    } catch (const std::exception& error) {
      return {serl_rt::Absence::kNetwork, error.what()};
    }
    clock_.restart();
    lost_ = false;
    return {};
  }

  // From here on no exception, no lock, no allocation: this is the 1 kHz loop.
  bool read(serl_rt::State& state) noexcept override {
    JointSample sample;
    if (!hardware_->receive(sample)) {
      lost_ = true;
      return false;
    }
    const Kinematics now = kinematics(sample.q);
    state.time_ns = clock_.sample(sample.time_ms);  // never goes back, over restarts too
    state.q = sample.q;
    state.dq = sample.dq;
    state.tau_J = sample.tau;
    state.tau_J_d = sent_;
    state.O_T_EE = now.tcp;
    state.zero_jacobian = now.jacobian;
    state.coriolis.setZero();  // an arm with a dynamic model gives its own
    return true;
  }

  bool write(const serl_rt::Vec7& tau) noexcept override {
    hardware_->send(tau);
    sent_ = tau;
    return true;
  }

  // Which of the four absences it is decides who ends it; a reflex has its names in brackets.
  serl_rt::Trouble trouble() const override {
    if (!lost_) return {};
    return {serl_rt::Absence::kReflex, "the arm has stopped itself [\"joint_too_fast\"]"};
  }

  void stop() noexcept override { hardware_.reset(); }

  serl_rt::CommandQuality quality() const noexcept override { return {1.0, clock_.lost()}; }

 private:
  const serl_rt::RobotConfig config_;
  std::unique_ptr<ArmHardware> hardware_;
  serl_rt::RobotClock clock_;
  serl_rt::Vec7 sent_ = serl_rt::Vec7::Zero();
  bool lost_ = false;
};

}  // namespace own_arm
