#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>

#include "arm_model.hpp"
#include "core/controller.hpp"
#include "core/error.hpp"

using namespace serl_rt;
using test::Arm;
using test::Random;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

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

Target joint_target(Mode mode, const Vec7& q, double duration_s = 0.0) {
  Target target;
  target.mode = mode;
  target.q = q;
  target.duration_s = duration_s;
  return target;
}

Target mode_target(Mode mode) {
  Target target;
  target.mode = mode;
  return target;
}

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

// An arm that cannot move, pressed towards a target: the force along x that the law asks for.
struct Press {
  static constexpr double kError = 0.005;  // [m]

  static ControllerConfig unfiltered(ControllerConfig config) {
    config.filter.time_constant_s = 0.0;
    config.speed.linear = 10.0;  // the error within one tick
    return config;
  }
  explicit Press(const ControllerConfig& config = {}) : controller(unfiltered(config)) {
    controller.set_record_ring(records.get());
    controller.start(state);
    send();
  }
  void send() {
    Target target;
    target.mode = Mode::kCartesianImpedance;
    target.pose = state.O_T_EE;
    target.pose.position.x() += kError;
    controller.targets().write(target);
  }
  double force(int ticks) {
    TickRecord record;
    for (int i = 0; i < ticks; ++i) {
      controller.tick(state);
      while (records->try_pop(record)) continue;
    }
    const Jacobian& J = state.zero_jacobian;
    return (J * J.transpose()).ldlt().solve(J * record.tau_law)[0];
  }

  State state = test::state_at(test::kHome);
  std::unique_ptr<RecordRing> records = std::make_unique<RecordRing>();
  Controller controller;
};

}  // namespace

TEST_CASE("at the start the arm is held where it is, without a torque") {
  Cell cell;
  const Vec7 q = cell.arm.state().q;
  for (int i = 0; i < 1000; ++i) {
    cell.tick();
    REQUIRE(cell.last_tau.norm() < 1e-9);
  }
  CHECK((cell.arm.state().q - q).norm() < 1e-9);
  CHECK(cell.controller.status().mode == Mode::kHold);
  CHECK(cell.controller.status().ticks == 1000);
  CHECK(cell.controller.faults().snapshot()[0].count == 0);
}

TEST_CASE("the first torque continues the robot's") {
  Controller controller{ControllerConfig{}};
  State state = test::state_at(test::kHome);
  state.tau_J_d.setConstant(5.0);
  controller.start(state);
  CHECK(controller.tick(state) == Vec7::Constant(5.0 - fr3_limits().tau_step));
}

TEST_CASE("Cartesian impedance brings the end effector to the target") {
  Cell cell;
  const Vec3 offset(0.05, -0.03, 0.04);
  const Target target = cell.pose_target(offset);
  cell.send(target);
  cell.run(4000);
  const Pose& reached = cell.arm.state().O_T_EE;
  CHECK((reached.position - target.pose.position).norm() < 1e-3);
  CHECK(reached.orientation.angularDistance(target.pose.orientation) < 1e-2);
  const ControllerStatus status = cell.controller.status();
  CHECK(status.mode == Mode::kCartesianImpedance);
  CHECK(status.target_sequence == cell.sequence);
  CHECK(std::abs(status.reference[0] - target.pose.position.x()) < 1e-6);
}

TEST_CASE("joint impedance and joint moves bring the arm to the goal; the move tells when") {
  const Vec7 goal = test::kHome + Vec7::Constant(0.2);
  Cell cell;
  cell.send(joint_target(Mode::kJointMove, goal, 2.0));
  cell.run(1990);
  CHECK(cell.controller.status().move_done_sequence == 0);
  cell.run(1020);
  CHECK(cell.controller.status().move_done_sequence == cell.sequence);
  CHECK((cell.arm.state().q - goal).cwiseAbs().maxCoeff() < 1e-3);

  cell.send(joint_target(Mode::kJointImpedance, test::kHome));
  cell.run(3000);
  CHECK((cell.arm.state().q - test::kHome).cwiseAbs().maxCoeff() < 1e-2);
}

TEST_CASE("a blocked joint move counts as done once it had time to settle") {
  ControllerConfig config;
  config.move_settle_s = 0.5;
  Controller controller(config);
  const State blocked = test::state_at(test::kHome);
  controller.start(blocked);
  Target target = joint_target(Mode::kJointMove, test::kHome + Vec7::Constant(0.1), 1.0);
  target.sequence = 5;
  controller.targets().write(target);
  for (int i = 0; i < 1490; ++i) controller.tick(blocked);
  CHECK(controller.status().move_done_sequence == 0);
  for (int i = 0; i < 20; ++i) controller.tick(blocked);
  CHECK(controller.status().move_done_sequence == 5);
}

TEST_CASE("each mode begins at the measured state: its law asks for damping and Coriolis at most") {
  Random random(61);
  for (const Mode mode : {Mode::kHold, Mode::kCartesianImpedance, Mode::kJointImpedance,
                          Mode::kJointMove, Mode::kGravityCompensation}) {
    auto records = std::make_unique<RecordRing>();
    Controller controller{ControllerConfig{}};
    controller.set_record_ring(records.get());
    State state = test::state_at(test::kHome);
    state.coriolis = random.vector<Vec7>(-1.0, 1.0);
    controller.start(state);
    Target target = mode_target(mode);
    target.pose = state.O_T_EE;
    target.pose.position.x() += 0.05;
    target.q = state.q + Vec7::Constant(0.1);
    controller.targets().write(target);
    controller.tick(state);
    TickRecord record;
    REQUIRE(records->try_pop(record));
    CHECK(record.mode == mode);
    // One tick of the reference's way, and no more, shows in the torque.
    CHECK((record.tau_law - state.coriolis).cwiseAbs().maxCoeff() < 0.6);
  }
}

TEST_CASE("switching modes at random while moving never steps the torque") {
  Random random(62);
  Cell cell;
  for (int i = 0; i < 400; ++i) {
    switch (random.integer(0, 4)) {
      case 0:
        cell.send(mode_target(Mode::kHold));
        break;
      case 1:
        cell.send(cell.pose_target(random.vector<Vec3>(-0.1, 0.1)));
        break;
      case 2:
        cell.send(joint_target(Mode::kJointImpedance, random.configuration()));
        break;
      case 3:
        cell.send(joint_target(Mode::kJointMove, random.configuration()));
        break;
      case 4:
        cell.send(mode_target(Mode::kGravityCompensation));
        break;
    }
    if (random.integer(0, 5) == 0) {
      CartesianGains gains;
      gains.translational_stiffness = random.uniform(0.0, 3000.0);
      gains.translational_clip.setConstant(random.uniform(0.0, 0.1));
      cell.controller.gains().write(gains);
    }
    cell.run(random.integer(1, 200));  // Cell checks every tick
  }
  CHECK(cell.controller.status().target_sequence > 100);
}

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

TEST_CASE("gains out of range are refused, good ones taken over smoothly, and at once by a start") {
  Press press;
  CHECK(press.force(4000) == doctest::Approx(2000.0 * Press::kError).epsilon(0.01));
  CartesianGains gains;
  gains.translational_stiffness = 1e6;
  press.controller.gains().write(gains);
  CHECK(press.force(100) == doctest::Approx(2000.0 * Press::kError).epsilon(0.01));
  CHECK(press.controller.faults().count(Fault::kGainsOutOfRange) == 1);

  gains.translational_stiffness = 1000.0;
  press.controller.gains().write(gains);
  CHECK(press.force(1) == doctest::Approx((2000.0 - 5.0) * Press::kError).epsilon(1e-3));
  CHECK(press.force(200) == doctest::Approx((1000.0 + 365.0) * Press::kError).epsilon(0.01));
  press.controller.start(press.state);
  press.send();
  CHECK(press.force(1) == doctest::Approx(1000.0 * Press::kError).epsilon(0.01));
}

TEST_CASE("the integral grows while the arm is blocked, and a new target takes it back") {
  ControllerConfig config;
  config.gains.translational_Ki = 100.0;
  Press press(config);
  const double spring = 2000.0 * Press::kError;
  CHECK(press.force(1) == doctest::Approx(spring + 100.0 * Press::kError).epsilon(0.01));
  CHECK(press.force(9) == doctest::Approx(spring + 1000.0 * Press::kError).epsilon(0.01));
  CHECK(press.force(1000) == doctest::Approx(spring + 100.0 * 0.1).epsilon(0.01));  // its clamp
  press.send();
  CHECK(press.force(1) == doctest::Approx(spring + 100.0 * Press::kError).epsilon(0.01));
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

TEST_CASE("a hold that begins in motion only brakes: the arm does not swing back") {
  Cell cell;
  cell.send(cell.pose_target(Vec3(0.1, 0.1, 0.0)));
  cell.run(200);
  const Vec7 direction = cell.arm.state().dq;
  cell.send(mode_target(Mode::kHold));
  for (int i = 0; i < 2000; ++i) {
    cell.tick();
    // The torque's memory of one step a tick may swing it a little.
    REQUIRE(cell.arm.state().dq.dot(direction) > -0.02 * direction.squaredNorm());
  }
  CHECK(cell.arm.state().dq.norm() < 1e-3);
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

TEST_CASE("starting anew elsewhere holds there, keeps the gains and ends a stop") {
  Cell cell;
  cell.send(cell.pose_target(Vec3(0.1, 0.0, 0.0)));
  cell.run(100);
  cell.controller.request_stop();
  cell.tick();
  const Vec7 elsewhere = test::kHome + Vec7::Constant(0.1);
  cell.arm.place(elsewhere);
  cell.last_tau.setZero();
  cell.controller.start(cell.arm.state());
  cell.run(1000);
  CHECK((cell.arm.state().q - elsewhere).norm() < 1e-9);
  CHECK_FALSE(cell.controller.status().stopped);
}

TEST_CASE(
    "the redundant joint is drawn to the configured posture, else to the last start or move") {
  // The elbow is turned away within the null space; only the posture torque brings it back.
  const auto elbow_after = [](ControllerConfig config, bool move_first) {
    config.gains.nullspace_stiffness = 20.0;
    config.gains.joint1_nullspace_stiffness = 1.0;
    Cell cell(config);
    if (move_first) {
      Vec7 goal = test::kHome;
      goal[2] += 0.3;
      cell.send(joint_target(Mode::kJointMove, goal));
      cell.run(4000);
    }
    cell.send(cell.pose_target(Vec3::Zero()));
    cell.run(8000);
    return cell.arm.state().q[2];
  };
  CHECK(std::abs(elbow_after({}, false)) < 0.01);
  CHECK(std::abs(elbow_after({}, true) - 0.3) < 0.01);
  ControllerConfig config;
  config.nullspace_posture = test::kHome;
  (*config.nullspace_posture)[2] = 0.4;
  CHECK(elbow_after(config, false) > 0.1);
}

TEST_CASE("hand guiding damps and does nothing else") {
  Cell cell;
  cell.send(mode_target(Mode::kGravityCompensation));
  cell.run(10);
  CHECK(cell.last_tau.norm() < 1e-9);
  cell.arm.set_velocity(Vec7::Constant(0.2));
  cell.tick();
  CHECK((cell.last_tau + 0.2 * cell.controller.config().guiding_damping).norm() < 1e-9);
}

TEST_CASE("each tick is recorded, and a full ring only costs records") {
  auto records = std::make_unique<RecordRing>();
  ControllerConfig config;
  config.mode_fade_s = 0.0;  // the limits alone change the law's torque
  Cell cell(config);
  cell.controller.set_record_ring(records.get());
  Target target = cell.pose_target(Vec3(0.05, 0.0, 0.0));
  target.policy_version = 3;
  cell.send(target);
  const int ticks = static_cast<int>(RecordRing::capacity()) + 10;
  cell.run(ticks);
  CHECK(cell.controller.status().records_dropped == 10);
  TickRecord record;
  std::int64_t expected_time = 0;
  while (records->try_pop(record)) {
    REQUIRE(record.time_ns == expected_time);
    expected_time += kTickNs;
    REQUIRE(record.mode == Mode::kCartesianImpedance);
    REQUIRE(record.policy_version == 3);
    REQUIRE(record.target_sequence == 1);
    REQUIRE((record.target.position - target.pose.position).norm() < 1e-12);
    REQUIRE(record.q_reference == record.q);
    REQUIRE(record.faults.has(Fault::kTorqueRateLimited) ==
            ((record.tau - record.tau_law).norm() > 1e-12));
  }
}

TEST_CASE("the record of a joint move holds the planned path and what was measured") {
  auto records = std::make_unique<RecordRing>();
  Cell cell;
  cell.controller.set_record_ring(records.get());
  const Vec7 goal = test::kHome + Vec7::Constant(0.05);
  cell.send(joint_target(Mode::kJointMove, goal, 0.5));
  State state = cell.arm.state();
  state.O_F_ext = Vec6::LinSpaced(1.0, 6.0);
  state.tau_J = Vec7::LinSpaced(1.0, 7.0);
  cell.last_tau = cell.controller.tick(state);
  TickRecord record;
  REQUIRE(records->try_pop(record));
  CHECK(record.O_F_ext == state.O_F_ext);
  CHECK(record.tau_J == state.tau_J);
  cell.run(600);
  while (records->try_pop(record)) continue;
  CHECK((record.q_reference - goal).norm() < 1e-9);
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
