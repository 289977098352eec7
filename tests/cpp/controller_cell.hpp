// A controller on a simulated arm, and targets for it.
#pragma once

#include <doctest/doctest.h>

#include "arm_model.hpp"
#include "core/controller.hpp"

namespace serl_rt::test {

// A controller on an arm, and the rule that holds in every test: no step in the torque.
class Cell {
 public:
  explicit Cell(const ControllerConfig& config = {}, const Vec7& q = test::kHome)
      : arm(q), controller(config) {
    controller.start(arm.state());
  }

  void tick() {
    const Vec7 tau = controller.tick(arm.state());
    REQUIRE(tau.allFinite());
    REQUIRE((tau - last_tau).cwiseAbs().maxCoeff() <= 1.0 + 1e-9);
    last_tau = tau;
    arm.step(tau);
  }
  void run(int ticks) {
    for (int i = 0; i < ticks; ++i) tick();
  }
  void send(Target target) {
    target.sequence = ++sequence;
    controller.targets().write(target);
  }
  Target pose_target(const Vec3& offset) const {
    Target target;
    target.mode = Mode::kCartesianImpedance;
    target.pose = arm.state().O_T_EE;
    target.pose.position += offset;
    return target;
  }
  std::uint64_t count(Fault fault) const { return controller.faults().count(fault); }

  Arm arm;
  Controller controller;
  Vec7 last_tau = Vec7::Zero();
  std::uint64_t sequence = 0;
};

inline Target joint_target(Mode mode, const Vec7& q, double duration_s = 0.0) {
  Target target;
  target.mode = mode;
  target.q = q;
  target.duration_s = duration_s;
  return target;
}

inline Target mode_target(Mode mode) {
  Target target;
  target.mode = mode;
  return target;
}

}  // namespace serl_rt::test
