// What the controller does: hold, follow, move, take gains, record.
#include "core/controller.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "controller_cell.hpp"

using namespace serl_rt;
using test::Cell;
using test::joint_target;
using test::mode_target;
using test::Random;

namespace {

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
