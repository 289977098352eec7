// What the controller refuses, and what makes it hold or stop.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>

#include "controller_cell.hpp"
#include "core/error.hpp"

using namespace serl_rt;
using test::Arm;
using test::Cell;
using test::joint_target;
using test::mode_target;
using test::Random;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Sends `target`, runs a tick, and expects that it is refused and changes nothing.
void check_refused(Cell& cell, const Target& target, Fault fault) {
  const ControllerStatus before = cell.controller.status();
  const std::uint64_t count = cell.count(fault);
  cell.send(target);
  cell.tick();
  const ControllerStatus after = cell.controller.status();
  CHECK(cell.count(fault) == count + 1);
  CHECK(after.refused_sequence == cell.sequence);
  CHECK(after.last_refusal == fault);
  CHECK(after.target_sequence == before.target_sequence);
  CHECK(after.mode == before.mode);
}

}  // namespace

TEST_CASE("targets, gains and states of any kind leave the command finite and limited") {
  Random random(63);
  Controller controller{ControllerConfig{}};
  const RobotLimits limits = fr3_limits();
  const auto spoil = [&](double& value) {
    constexpr double kBad[] = {kNan, std::numeric_limits<double>::infinity(), 1e300, -1e300, 0.0};
    if (random.integer(0, 40) == 0) value = kBad[random.integer(0, 4)];
  };
  controller.start(test::state_at(test::kHome));
  Vec7 last = Vec7::Zero();
  for (int i = 0; i < 100'000; ++i) {
    if (random.integer(0, 3) == 0) {
      Target target;
      target.mode = static_cast<Mode>(random.integer(0, 5));  // 5 is none
      target.pose = {random.vector<Vec3>(-1.2, 1.2), random.rotation()};
      target.q = random.configuration();
      target.duration_s = random.uniform(-1.0, 3.0);
      target.deadline_ns = random.integer(0, 200'000);
      for (double& x : target.pose.position) spoil(x);
      for (double& x : target.pose.orientation.coeffs()) spoil(x);
      for (double& x : target.q) spoil(x);
      spoil(target.duration_s);
      controller.targets().write(target);
    }
    if (random.integer(0, 10) == 0) {
      CartesianGains gains;
      spoil(gains.translational_stiffness);
      for (double& x : gains.rotational_clip) spoil(x);
      controller.gains().write(gains);
    }
    State state = random.state();
    state.time_ns = i;
    state.tau_J_d = last;
    for (double& x : state.q) spoil(x);
    for (double& x : state.dq) spoil(x);
    for (double& x : state.zero_jacobian.reshaped()) {
      if (random.integer(0, 20) == 0) spoil(x);
    }
    const Vec7 tau = controller.tick(state);
    REQUIRE(tau.allFinite());
    REQUIRE((tau.cwiseAbs() - limits.tau_max).maxCoeff() <= 0.0);
    REQUIRE((tau - last).cwiseAbs().maxCoeff() <= limits.tau_step * (1.0 + 1e-12));
    last = tau;
  }
  for (const Fault fault : {Fault::kTargetInvalid, Fault::kTargetOutsideWorkspace,
                            Fault::kTargetTooFast, Fault::kMoveTooFast, Fault::kGainsOutOfRange,
                            Fault::kStateNonFinite, Fault::kTorqueRateLimited}) {
    CHECK_MESSAGE(controller.faults().count(fault) > 0, std::string(to_string(fault)));
  }
}

TEST_CASE("a stale target becomes a hold within one tick") {
  Cell cell;
  Target target = cell.pose_target(Vec3(0.05, 0.0, 0.0));
  target.policy_version = 9;
  target.deadline_ns = cell.arm.state().time_ns + 50 * kTickNs;
  cell.send(target);
  cell.run(51);  // the last of these is at the deadline
  CHECK(cell.controller.status().mode == Mode::kCartesianImpedance);
  CHECK(cell.controller.status().policy_version == 9);
  cell.tick();
  CHECK(cell.controller.status().mode == Mode::kHold);
  CHECK(cell.controller.status().policy_version == 0);
  CHECK(cell.count(Fault::kTargetStale) == 1);
  cell.run(2000);
  CHECK(cell.count(Fault::kTargetStale) == 1);  // an event, not a state
  CHECK(cell.arm.state().dq.norm() < 1e-3);

  cell.send(cell.pose_target(Vec3(0.0, 0.02, 0.0)));  // and the next one is followed again
  cell.tick();
  CHECK(cell.controller.status().mode == Mode::kCartesianImpedance);
}

TEST_CASE("a new target in time keeps the arm from holding") {
  Cell cell;
  Target target = cell.pose_target(Vec3(0.05, 0.0, 0.0));
  for (int i = 0; i < 10; ++i) {
    target.deadline_ns = cell.arm.state().time_ns + 100 * kTickNs;
    cell.send(target);
    cell.run(100);
    CHECK(cell.controller.status().mode == Mode::kCartesianImpedance);
  }
  CHECK(cell.count(Fault::kTargetStale) == 0);
}

TEST_CASE("a bad target is refused by name, and the last good one is followed on") {
  ControllerConfig config;
  config.workspace.low = Vec3(0.2, -0.5, 0.0);
  config.workspace.high = Vec3(0.8, 0.5, 1.0);
  Cell cell(config);
  const Target good = cell.pose_target(Vec3(0.02, 0.0, 0.0));
  cell.send(good);
  cell.tick();
  REQUIRE(cell.controller.status().mode == Mode::kCartesianImpedance);

  Target bad = good;
  bad.pose.position.z() = kNan;
  check_refused(cell, bad, Fault::kTargetInvalid);
  bad = good;
  bad.pose.orientation.coeffs() *= 1.1;
  check_refused(cell, bad, Fault::kTargetInvalid);
  bad = good;
  bad.pose.position.y() = 0.501;
  check_refused(cell, bad, Fault::kTargetOutsideWorkspace);
  const FaultCount outside =
      cell.controller.faults().snapshot()[static_cast<std::size_t>(Fault::kTargetOutsideWorkspace)];
  CHECK(outside.value == 0.501);
  CHECK(outside.limit == 0.5);
  bad = good;
  bad.pose.position.y() += 0.45;  // 2.25 m/s through the 0.2 s filter
  check_refused(cell, bad, Fault::kTargetTooFast);
  bad = good;
  bad.pose.orientation = Quat(Eigen::AngleAxisd(0.6, Vec3::UnitZ())) * bad.pose.orientation;
  check_refused(cell, bad, Fault::kTargetTooFast);
  bad = good;
  bad.deadline_ns = 1;
  cell.run(2);
  check_refused(cell, bad, Fault::kTargetStale);
  check_refused(cell, joint_target(Mode::kJointImpedance, Vec7::Constant(kNan)),
                Fault::kTargetInvalid);
  check_refused(cell, joint_target(Mode::kJointImpedance, Vec7::Zero()),
                Fault::kTargetOutsideJointLimits);
  Vec7 far = test::kHome;
  far[0] += 1.0;
  check_refused(cell, joint_target(Mode::kJointImpedance, far), Fault::kTargetTooFast);
  check_refused(cell, joint_target(Mode::kJointMove, far, 0.1), Fault::kMoveTooFast);
  check_refused(cell, mode_target(static_cast<Mode>(77)), Fault::kTargetInvalid);

  cell.run(4000);
  CHECK((cell.arm.state().O_T_EE.position - good.pose.position).norm() < 1e-3);
}

TEST_CASE("a target on the box's bound is inside, float rounding included") {
  ControllerConfig config;
  const Pose home = test::kinematics(test::kHome).tcp;
  config.workspace.high.x() = home.position.x() + 0.02;
  Cell cell(config);
  Target target = cell.pose_target(Vec3(0.02 + 5e-7, 0.0, 0.0));
  cell.send(target);
  cell.tick();
  CHECK(cell.controller.status().target_sequence == cell.sequence);
}

TEST_CASE("a requested stop brakes, holds, and ends only with a deliberate command") {
  Cell cell;
  cell.send(cell.pose_target(Vec3(0.1, 0.1, 0.0)));
  cell.run(200);
  REQUIRE(cell.arm.state().dq.norm() > 0.05);
  cell.controller.request_stop();
  cell.tick();
  CHECK(cell.controller.status().stopped);
  CHECK(cell.controller.status().mode == Mode::kHold);
  CHECK(cell.count(Fault::kStopRequested) == 1);
  check_refused(cell, cell.pose_target(Vec3::Zero()), Fault::kTargetWhileStopped);
  check_refused(cell, joint_target(Mode::kJointImpedance, cell.arm.state().q),
                Fault::kTargetWhileStopped);
  cell.run(1000);
  CHECK(cell.arm.state().dq.norm() < 1e-3);

  for (const Mode mode : {Mode::kHold, Mode::kGravityCompensation, Mode::kJointMove}) {
    cell.controller.request_stop();
    cell.tick();
    REQUIRE(cell.controller.status().stopped);
    cell.send(joint_target(mode, test::kHome));
    cell.tick();
    CHECK_FALSE(cell.controller.status().stopped);
    CHECK(cell.controller.status().mode == mode);
  }
}

TEST_CASE(
    "in a tick that sees both, a stop wins over a command, a new target over the old deadline") {
  Cell cell;
  cell.send(joint_target(Mode::kJointMove, test::kHome));
  cell.controller.request_stop();
  cell.tick();
  CHECK(cell.controller.status().stopped);
  CHECK(cell.controller.status().mode == Mode::kHold);

  cell.send(mode_target(Mode::kHold));
  cell.tick();
  Target target = cell.pose_target(Vec3::Zero());
  target.deadline_ns = cell.arm.state().time_ns;
  cell.send(target);
  cell.tick();
  target.deadline_ns = 0;
  cell.send(target);
  cell.tick();  // past the first target's deadline
  CHECK(cell.count(Fault::kTargetStale) == 0);
  CHECK(cell.controller.status().mode == Mode::kCartesianImpedance);
}

TEST_CASE("a joint beyond its limits stops the arm; it may be moved back") {
  const RobotLimits limits = fr3_limits();
  SUBCASE("too fast") {
    Cell cell;
    Vec7 dq = Vec7::Zero();
    dq[1] = -0.97 * limits.dq_max[1];
    cell.arm.set_velocity(dq);
    cell.tick();
    CHECK(cell.count(Fault::kJointVelocityLimit) == 1);
    CHECK(cell.controller.status().stopped);
    cell.run(1500);
    CHECK(cell.arm.state().dq.norm() < 1e-2);
  }
  SUBCASE("too far") {
    Vec7 q = test::kHome;
    q[5] = limits.q_max[5] - 0.005;
    Cell cell({}, q);
    cell.tick();
    CHECK(cell.count(Fault::kJointPositionLimit) == 1);
    CHECK(cell.controller.status().stopped);
    check_refused(cell, cell.pose_target(Vec3::Zero()), Fault::kTargetWhileStopped);
    cell.send(joint_target(Mode::kJointMove, test::kHome));
    cell.run(8000);
    CHECK(cell.controller.status().move_done_sequence == cell.sequence);
    CHECK(cell.count(Fault::kJointPositionLimit) == 1);
    CHECK((cell.arm.state().q - test::kHome).cwiseAbs().maxCoeff() < 0.02);
  }
}

TEST_CASE("a state that is not finite ramps the torque down and stops the arm") {
  Cell cell;
  cell.send(cell.pose_target(Vec3(0.1, 0.0, 0.0)));
  cell.run(30);
  const Vec7 before = cell.last_tau;
  REQUIRE(before.cwiseAbs().maxCoeff() > 1.0);
  State state = cell.arm.state();
  state.q[2] = kNan;
  for (int i = 1; i <= 60; ++i) {
    const Vec7 tau = cell.controller.tick(state);
    cell.arm.step(tau);
    for (int joint = 0; joint < kJoints; ++joint) {
      REQUIRE(std::abs(tau[joint]) ==
              doctest::Approx(std::max(0.0, std::abs(before[joint]) - i * fr3_limits().tau_step)));
    }
    cell.last_tau = tau;
  }
  CHECK(cell.count(Fault::kStateNonFinite) == 60);
  CHECK(cell.controller.status().stopped);
  cell.run(500);
  CHECK(cell.arm.state().dq.norm() < 1e-2);
}

TEST_CASE("a controller that was started with a bad state begins at the first good one") {
  Controller controller{ControllerConfig{}};
  State bad = test::state_at(test::kHome);
  bad.q[0] = kNan;
  controller.start(bad);
  CHECK(controller.tick(bad) == Vec7::Zero());
  Arm arm;
  for (int i = 0; i < 100; ++i) {
    const Vec7 tau = controller.tick(arm.state());
    REQUIRE(tau.norm() < 1e-9);
    arm.step(tau);
  }
  CHECK_FALSE(controller.status().stopped);
}

TEST_CASE("a configuration that makes no sense is refused with its name") {
  CHECK(validate(ControllerConfig{}).empty());
  const auto problem = [](const std::function<void(ControllerConfig&)>& spoil) {
    ControllerConfig config;
    spoil(config);
    CHECK_THROWS_AS(Controller{config}, Error);
    return validate(config);
  };
  CHECK(problem([](auto& c) {
          c.gains.translational_damping = -1.0;
        }).find("translational_damping = -1") == 0);
  CHECK(problem([](auto& c) { c.joint_gains.stiffness[2] = kNan; }).find("joint stiffness[2]") ==
        0);
  CHECK(problem([](auto& c) { c.workspace.low.z() = 5.0; }).find("workspace low") == 0);
  CHECK(problem([](auto& c) { c.speed.linear = 0.0; }).find("target speed") == 0);
  CHECK(problem([](auto& c) { c.filter.duration_s = 0.0; }).find("filter duration_s") == 0);
  CHECK(problem([](auto& c) { c.limits.tau_step = 2.0; }).find("tau_step") == 0);
  CHECK(problem([](auto& c) { c.move_fraction = 1.5; }).find("move_fraction") == 0);
  CHECK(problem([](auto& c) { c.guiding_damping[0] = -1.0; }).find("guiding_damping") == 0);
  CHECK(problem([](auto& c) {
          c.nullspace_posture = Vec7::Constant(kNan);
        }).find("nullspace_posture") == 0);
}

TEST_CASE("every fault has a name of its own") {
  std::set<std::string> names;
  for (std::size_t i = 0; i < kFaults; ++i) {
    names.emplace(to_string(static_cast<Fault>(i)));
  }
  CHECK(names.size() == kFaults);
  CHECK(names.count("unknown") == 0);
  CHECK(to_string(static_cast<Fault>(200)) == "unknown");
}
