#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "arm_model.hpp"
#include "core/limits.hpp"

using namespace serl_rt;
using test::Random;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Torques of every size, now and then not a number.
Vec7 wild_torque(Random& random) {
  Vec7 tau = random.vector<Vec7>(-1.0, 1.0) * std::pow(10.0, random.integer(-2, 5));
  switch (random.integer(0, 9)) {
    case 0:
      tau[random.integer(0, 6)] = kNan;
      break;
    case 1:
      tau[random.integer(0, 6)] = kInf;
      break;
    case 2:
      tau[random.integer(0, 6)] = -kInf;
      break;
    case 3:
      tau[random.integer(0, 6)] = std::numeric_limits<double>::max();
      break;
    default:
      break;
  }
  return tau;
}

State anywhere(Random& random, const RobotLimits& limits) {
  State state;
  for (int i = 0; i < kJoints; ++i) {
    state.q[i] = random.uniform(limits.q_min[i] - 0.2, limits.q_max[i] + 0.2);
    state.dq[i] = random.uniform(-2.0, 2.0) * limits.dq_max[i];
  }
  return state;
}

}  // namespace

TEST_CASE("whatever the law asks for, the command is finite, clamped and rate limited") {
  for (const RobotLimits& limits : {fr3_limits(), panda_limits()}) {
    Random random(31);
    FaultCounters counters;
    TorqueLimiter limiter(limits, JointWall{});
    Vec7 last = Vec7::Zero();
    for (int i = 0; i < 100'000; ++i) {
      TickFaults faults(counters);
      State state = anywhere(random, limits);
      state.tau_J_d = last;
      const Vec7 tau = limiter.apply(wild_torque(random), state, faults);
      REQUIRE(tau.allFinite());
      REQUIRE((tau.cwiseAbs() - limits.tau_max).maxCoeff() <= 0.0);
      REQUIRE((tau - last).cwiseAbs().maxCoeff() <= limits.tau_step * (1.0 + 1e-12));
      last = tau;
    }
    CHECK(counters.count(Fault::kTorqueNonFinite) > 10'000);
    CHECK(counters.count(Fault::kTorqueClamped) > 10'000);
    CHECK(counters.count(Fault::kTorqueRateLimited) > 10'000);
  }
}

TEST_CASE("a torque inside every limit passes unchanged and counts nothing") {
  FaultCounters counters;
  TickFaults faults(counters);
  TorqueLimiter limiter(fr3_limits(), JointWall{});
  limiter.reset(Vec7::Constant(5.0));
  State state;
  state.q = test::kHome;
  state.tau_J_d.setConstant(5.0);
  const Vec7 tau = Vec7::Constant(5.5);
  CHECK(limiter.apply(tau, state, faults) == tau);
  CHECK(faults.set().empty());
}

TEST_CASE("a torque that is not a number becomes a ramp to zero") {
  FaultCounters counters;
  TorqueLimiter limiter(fr3_limits(), JointWall{});
  limiter.reset(Vec7::Constant(3.5));
  State state;
  state.q = test::kHome;
  Vec7 bad = Vec7::Constant(10.0);
  bad[3] = kNan;
  for (const double expected : {2.501, 1.502, 0.503, 0.0, 0.0}) {
    TickFaults faults(counters);
    state.tau_J_d = limiter.last();
    CHECK((limiter.apply(bad, state, faults) - Vec7::Constant(expected)).norm() < 1e-12);
    CHECK(faults.set().has(Fault::kTorqueNonFinite));
  }
}

TEST_CASE("after commands that were lost, the step is small for the robot, too") {
  const double step = fr3_limits().tau_step;
  FaultCounters counters;
  TorqueLimiter limiter(fr3_limits(), JointWall{});
  State state;
  state.q = test::kHome;
  const Vec7 wanted = Vec7::Constant(10.0);
  const auto apply = [&](double held) {
    TickFaults faults(counters);
    state.tau_J_d.setConstant(held);
    return limiter.apply(wanted, state, faults)[0];
  };
  CHECK(apply(0.0) == doctest::Approx(step));
  CHECK(apply(0.0) == doctest::Approx(step));       // the first was lost: not two steps at once
  CHECK(apply(step) == doctest::Approx(2 * step));  // it arrived
  limiter.reset(Vec7::Constant(8.0));
  CHECK(apply(3.0) == doctest::Approx(3.0 + step));  // far apart: what the robot has counts
  limiter.reset(Vec7::Constant(2.0));
  CHECK(apply(kNan) == doctest::Approx(2.0 + step));  // a robot that does not say
}

TEST_CASE("the wall comes before the clamp, the clamp before the rate limit") {
  const RobotLimits limits = fr3_limits();
  FaultCounters counters;
  TickFaults faults(counters);
  TorqueLimiter limiter(limits, JointWall{});
  limiter.reset(limits.tau_max);  // 87 Nm and more is asked for
  State state;
  state.q = test::kHome;
  state.q[0] = limits.q_max[0];
  state.tau_J_d = limits.tau_max;
  // At the limit the wall takes its 25 Nm from the 110 that are asked: 85, not 87 - 25.
  const Vec7 tau = limiter.apply(Vec7::Constant(110.0), state, faults);
  CHECK(tau[0] == doctest::Approx(86.001));  // towards 85, one step a tick
  CHECK(tau[1] == 87.0);
  CHECK(tau[6] == 12.0);
  CHECK(counters.snapshot()[static_cast<std::size_t>(Fault::kTorqueClamped)].limit == 12.0);
}

TEST_CASE("the first command starts from the robot's torque, and from zero if that is unknown") {
  TorqueLimiter limiter(fr3_limits(), JointWall{});
  limiter.reset(Vec7::Constant(kNan));
  CHECK(limiter.last() == Vec7::Zero());
  limiter.reset(Vec7::Constant(200.0));
  CHECK(limiter.last() == fr3_limits().tau_max);
}

TEST_CASE("the joint wall is absent inside, pushes inwards near a limit, grows, and is capped") {
  const RobotLimits limits = fr3_limits();
  const JointWall wall;
  const Vec7 middle = 0.5 * (limits.q_min + limits.q_max);
  CHECK(joint_wall_torque(middle, limits.dq_max, limits, wall) == Vec7::Zero());
  for (int joint = 0; joint < kJoints; ++joint) {
    for (const double side : {-1.0, 1.0}) {
      double last = 0.0;
      for (double depth = 0.0; depth <= 0.3; depth += 0.001) {
        Vec7 q = middle;
        q[joint] = side > 0.0 ? limits.q_max[joint] - wall.zone + depth
                              : limits.q_min[joint] + wall.zone - depth;
        const Vec7 rest = joint_wall_torque(q, Vec7::Zero(), limits, wall);
        const double push = -side * rest[joint];
        REQUIRE(push >= last);
        REQUIRE(push - last < 0.001 * wall.torque[joint] / wall.zone + 1e-9);  // continuous
        REQUIRE(push <= wall.torque[joint]);
        last = push;

        // Damped on the way out only, within the cap.
        Vec7 dq = Vec7::Zero();
        dq[joint] = 0.5 * side;
        const double out = -side * joint_wall_torque(q, dq, limits, wall)[joint];
        REQUIRE(out >= push);
        REQUIRE(out <= wall.torque[joint]);
        REQUIRE(joint_wall_torque(q, -dq, limits, wall) == rest);
      }
      CHECK(last == wall.torque[joint]);
    }
  }
}

TEST_CASE("the guard reports the passing of a limit once, with value and limit") {
  const RobotLimits limits = fr3_limits();
  FaultCounters counters;
  JointGuard guard(limits, JointStop{});
  const auto passed = [&](double q3, double dq3) {
    State state;
    state.q = test::kHome;
    state.q[3] = q3;
    state.dq[3] = dq3;
    TickFaults faults(counters);
    return guard.passed(state, faults);
  };
  CHECK_FALSE(passed(-1.0, 2.0));
  CHECK(passed(limits.q_min[3] + 0.005, 0.0));
  CHECK_FALSE(passed(limits.q_min[3] + 0.004, 0.0));  // still beyond: no news
  CHECK_FALSE(passed(-1.0, 0.0));
  CHECK(passed(limits.q_max[3] - 0.005, 0.0));
  CHECK(counters.count(Fault::kJointPositionLimit) == 2);
  const FaultCount count =
      counters.snapshot()[static_cast<std::size_t>(Fault::kJointPositionLimit)];
  CHECK(count.value == limits.q_max[3] - 0.005);
  CHECK(count.limit == doctest::Approx(limits.q_max[3] - 0.01));

  CHECK(passed(-1.0, -2.6));
  CHECK_FALSE(passed(-1.0, -2.6));
  CHECK_FALSE(passed(-1.0, 0.0));
  CHECK(passed(-1.0, 2.6));
  CHECK(counters.count(Fault::kJointVelocityLimit) == 2);
}

TEST_CASE("limits that make no sense are named") {
  CHECK(validate(fr3_limits()).empty());
  CHECK(validate(panda_limits()).empty());
  RobotLimits limits = fr3_limits();
  limits.q_min[2] = limits.q_max[2];
  CHECK(validate(limits).find("q_min of joint 3") == 0);
  limits = fr3_limits();
  limits.tau_max[6] = kNan;
  CHECK(validate(limits).find("tau_max of joint 7") == 0);
  limits = fr3_limits();
  limits.tau_step = 1.5;
  CHECK(validate(limits).find("tau_step") == 0);
  JointWall wall;
  wall.zone = -0.1;
  CHECK(validate(wall).find("joint wall zone") == 0);
  JointStop stop;
  stop.velocity_fraction = 1.1;
  CHECK(validate(stop).find("stop velocity_fraction") == 0);
}
