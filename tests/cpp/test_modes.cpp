// Going from mode to mode: bumpless, in everybody's hands, within the robot's velocity envelope.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "arm_model.hpp"
#include "core/controller.hpp"

using namespace serl_rt;
using test::Arm;
using test::Random;

namespace {

constexpr Mode kModes[] = {Mode::kHold,      Mode::kCartesianImpedance, Mode::kJointImpedance,
                           Mode::kJointMove, Mode::kCartesianWrench,    Mode::kGravityCompensation};

class Cell {
 public:
  explicit Cell(const ControllerConfig& config = {}) : controller(config) {
    controller.set_in_charge(Source::kOperator);
    controller.start(arm.state());
  }
  Vec7 tick() {
    tau = controller.tick(arm.state());
    arm.step(tau);
    return tau;
  }
  void run(int ticks) {
    for (int i = 0; i < ticks; ++i) tick();
  }
  Target target(Mode mode, Random& random, double reach) {
    Target target;
    target.mode = mode;
    const State state = arm.state();
    target.pose = state.O_T_EE;
    target.pose.position += random.vector<Vec3>(-reach, reach);
    target.q = state.q + random.vector<Vec7>(-reach, reach);
    target.wrench = random.vector<Vec6>(-10.0, 10.0);
    return target;
  }
  void send(Target target) {
    target.sequence = ++sequence;
    controller.operator_targets().write(target);
  }

  Arm arm;
  Controller controller;
  Vec7 tau = Vec7::Zero();
  std::uint64_t sequence = 0;
};

}  // namespace

TEST_CASE("switching between any two modes steps neither the torque nor its rate") {
  Random random(71);
  ControllerConfig config;
  config.filter.kind = TargetFilterConfig::Kind::kMinJerk;  // so that only a switch could step it
  config.filter.duration_s = 0.4;
  for (const Mode from : kModes) {
    for (const Mode to : kModes) {
      Cell cell(config);
      cell.arm.set_velocity(random.vector<Vec7>(-0.1, 0.1));
      cell.send(cell.target(from, random, 0.02));
      cell.run(80);  // in the middle of a motion, with torque
      Vec7 last = cell.tau;
      cell.tick();
      Vec7 rate = cell.tau - last;
      cell.send(cell.target(to, random, 0.02));
      for (int i = 0; i < 200; ++i) {
        last = cell.tau;
        cell.tick();
        const Vec7 now = cell.tau - last;
        INFO(std::string(to_string(from)), " -> ", std::string(to_string(to)), " tick ", i);
        REQUIRE(now.cwiseAbs().maxCoeff() <= 1.0 + 1e-9);
        REQUIRE((now - rate).cwiseAbs().maxCoeff() < 0.3);  // [Nm per ms] per ms
        rate = now;
      }
      if (to != Mode::kCartesianWrench) CHECK(cell.controller.status().mode == to);  // it ended
    }
  }
}

TEST_CASE("random switches while gains change keep the arm slow and the torque limited") {
  Random random(72);
  Cell cell;
  const RobotLimits limits = fr3_limits();
  Vec7 last = Vec7::Zero();
  for (int i = 0; i < 1500; ++i) {
    cell.send(cell.target(kModes[random.integer(0, 5)], random, 0.15));
    if (random.integer(0, 3) == 0) {
      CartesianGains gains;
      for (const GainField& field : kGainFields) {  // stepped between the extremes
        if (field.scalar != nullptr) {
          gains.*field.scalar = random.integer(0, 1) == 0 ? field.low : field.high;
        }
      }
      gains.translational_damping = std::max(80.0, gains.translational_damping);
      gains.rotational_damping = std::max(5.0, gains.rotational_damping);
      cell.controller.gains().write(gains);
    }
    const int ticks = random.integer(1, 150);
    for (int tick = 0; tick < ticks; ++tick) {
      cell.tick();
      REQUIRE((cell.tau - last).cwiseAbs().maxCoeff() <= 1.0 + 1e-9);
      last = cell.tau;
      const State state = cell.arm.state();
      const VelocityRange range = velocity_range(state.q, limits);
      INFO("q ", state.q.transpose(), " dq ", state.dq.transpose(), " mode ",
           std::string(to_string(cell.controller.status().mode)), " stopped ",
           cell.controller.status().stopped);
      REQUIRE((state.dq - range.high).maxCoeff() < 0.25);
      REQUIRE((range.low - state.dq).maxCoeff() < 0.25);
    }
  }
}

TEST_CASE("in hold an arm with speed only loses energy") {
  Random random(73);
  for (int round = 0; round < 20; ++round) {
    Cell cell;
    cell.arm.set_velocity(random.vector<Vec7>(-0.5, 0.5));
    cell.run(100);  // the torque's rate is limited: it cannot brake at once
    double energy = 1e9;
    while (cell.arm.state().dq.cwiseAbs().maxCoeff() > 0.03) {
      const Vec7 dq = cell.arm.state().dq;
      const double now = 0.5 * dq.dot(Arm::inertia().cwiseProduct(dq));
      REQUIRE(now <= energy + 1e-9);
      energy = now;
      cell.tick();
    }
  }
}

TEST_CASE("a wrench ends 0.1 s after the last command, whatever its deadline says") {
  Random random(74);
  Cell cell;
  Target push = cell.target(Mode::kCartesianWrench, random, 0.0);
  push.deadline_ns = 60'000'000'000;
  cell.send(push);
  cell.run(90);
  CHECK(cell.controller.status().mode == Mode::kCartesianWrench);
  cell.send(push);
  cell.run(90);
  CHECK(cell.controller.status().mode == Mode::kCartesianWrench);
  cell.run(15);
  CHECK(cell.controller.status().mode == Mode::kHold);
  CHECK(cell.controller.faults().count(Fault::kTargetStale) == 1);
  cell.run(2000);
  CHECK(cell.arm.state().dq.norm() < 1e-3);
}

TEST_CASE("only who is in charge is followed; the other is refused by name") {
  Random random(75);
  Cell cell;
  Target policys = cell.target(Mode::kCartesianImpedance, random, 0.01);
  policys.sequence = 5;
  cell.controller.targets().write(policys);
  cell.tick();
  CHECK(cell.controller.status().mode == Mode::kHold);
  CHECK(cell.controller.status().refused_sequence == 5);
  CHECK(cell.controller.status().last_refusal == Fault::kTargetNotInCharge);

  cell.controller.set_in_charge(Source::kPolicy);
  cell.send(cell.target(Mode::kCartesianWrench, random, 0.0));
  cell.controller.targets().write(policys);
  cell.tick();
  CHECK(cell.controller.status().mode == Mode::kCartesianImpedance);
  CHECK(cell.controller.status().target_sequence == 5);
  CHECK(cell.controller.faults().count(Fault::kTargetNotInCharge) == 2);
}

TEST_CASE("a stopped arm takes no wrench, and one that is not finite is refused") {
  Random random(76);
  Cell cell;
  Target push = cell.target(Mode::kCartesianWrench, random, 0.0);
  cell.controller.request_stop();
  cell.tick();
  cell.send(push);
  cell.tick();
  CHECK(cell.controller.status().last_refusal == Fault::kTargetWhileStopped);
  cell.send(cell.target(Mode::kHold, random, 0.0));
  cell.tick();
  push.wrench[4] = std::nan("");
  cell.send(push);
  cell.tick();
  CHECK(cell.controller.status().last_refusal == Fault::kTargetInvalid);
  CHECK(cell.controller.status().mode == Mode::kHold);
}

TEST_CASE("pushed hard at a joint's limit the arm stays within the velocity that brakes in time") {
  const RobotLimits limits = fr3_limits();
  for (int joint = 0; joint < kJoints; ++joint) {
    for (const double direction : {1.0, -1.0}) {
      ControllerConfig config;
      TorqueLimiter limiter(config.limits, config.wall, config.velocity_wall);
      FaultCounters counters;
      Arm arm;
      Vec7 push = Vec7::Zero();
      push[joint] = direction * (joint < 4 ? 15.0 : 3.0);
      for (int tick = 0; tick < 4000; ++tick) {
        TickFaults faults(counters);
        arm.step(limiter.apply(push, arm.state(), faults));
        const State state = arm.state();
        const VelocityRange range = velocity_range(state.q, limits);
        INFO("joint ", joint + 1, " q ", state.q[joint], " dq ", state.dq[joint]);
        // What Franka's limits allow of a measured velocity, and the checker's margin.
        REQUIRE(state.dq[joint] < range.high[joint] + 0.1);
        REQUIRE(state.dq[joint] > range.low[joint] - 0.1);
      }
    }
  }
}
