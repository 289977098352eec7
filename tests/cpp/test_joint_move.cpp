#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "arm_model.hpp"
#include "core/joint_move.hpp"

using namespace serl_rt;
using test::Random;

namespace {

constexpr double kMargin = 0.01;
constexpr double kFraction = 0.5;

std::optional<Refusal> plan(const Vec7& goal, double duration_s, JointMove& move) {
  return plan_joint_move(test::kHome, goal, duration_s, fr3_limits(), kMargin, kFraction, move);
}

}  // namespace

TEST_CASE("a move begins and ends at rest at its ends, and its velocity is its derivative") {
  Random random(51);
  for (int i = 0; i < 50; ++i) {
    const Vec7 start = random.configuration();
    const Vec7 goal = random.configuration();
    const double duration = random.uniform(0.5, 5.0);
    const JointMove move(start, goal, duration);
    for (const double before : {-1.0, 0.0}) {
      CHECK(move.sample(before).q == start);
      CHECK(move.sample(before).dq == Vec7::Zero());
    }
    for (const double after : {duration, duration + 1.0}) {
      CHECK(move.sample(after).q == goal);
      CHECK(move.sample(after).dq == Vec7::Zero());
    }
    Vec7 peak = Vec7::Zero();
    for (double x = 0.01; x < 1.0; x += 0.01) {
      const double time = x * duration;
      const Vec7 numeric = (move.sample(time + 1e-6).q - move.sample(time - 1e-6).q) / 2e-6;
      REQUIRE((move.sample(time).dq - numeric).norm() < 1e-6);
      peak = peak.cwiseMax(move.sample(time).dq.cwiseAbs());
    }
    CHECK((peak - 1.875 / duration * (goal - start).cwiseAbs()).norm() < 1e-3);
  }
}

TEST_CASE("the shortest move uses, but does not pass, its part of velocity and acceleration") {
  Random random(52);
  const RobotLimits limits = fr3_limits();
  for (int i = 0; i < 50; ++i) {
    const double scale = i % 2 == 0 ? 1.0 : 0.05;  // short ways are bound by the acceleration
    const Vec7 goal = test::kHome + scale * random.vector<Vec7>(-0.5, 0.5);
    JointMove move;
    REQUIRE_FALSE(plan(goal, 0.0, move));
    double use = 0.0;
    for (double x = 0.0; x < 1.0; x += 1e-3) {
      const double time = x * move.duration_s();
      const double step = 1e-5;
      const Vec7 acceleration = (move.sample(time + step).dq - move.sample(time).dq) / step;
      const JointSample now = move.sample(time);
      const VelocityRange range = velocity_range(now.q, limits);
      const Vec7 velocity_use =
          now.dq.cwiseQuotient(range.high).cwiseMax(now.dq.cwiseQuotient(range.low));
      const Vec7 acceleration_use = acceleration.cwiseAbs().cwiseQuotient(limits.ddq_max);
      use = std::max({use, velocity_use.maxCoeff(), acceleration_use.maxCoeff()});
    }
    CHECK(use == doctest::Approx(kFraction).epsilon(1e-2));
  }
}

TEST_CASE("a move that cannot be made is refused with the reason") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  JointMove move;
  Vec7 goal = test::kHome;
  goal[1] += 1.0;
  const double shortest = shortest_duration(test::kHome, goal, fr3_limits(), kFraction);

  const auto too_fast = plan(goal, 0.9 * shortest, move);
  REQUIRE(too_fast);
  CHECK(too_fast->fault == Fault::kMoveTooFast);
  CHECK(too_fast->limit == doctest::Approx(shortest));
  CHECK_FALSE(plan(goal, too_fast->limit, move));  // the advice works
  CHECK(move.duration_s() == too_fast->limit);
  CHECK(plan(goal, -1.0, move)->fault == Fault::kMoveTooFast);

  goal[1] = fr3_limits().q_max[1];
  const auto outside = plan(goal, 10.0, move);
  REQUIRE(outside);
  CHECK(outside->fault == Fault::kTargetOutsideJointLimits);
  CHECK(outside->value == goal[1]);
  CHECK(outside->limit == doctest::Approx(goal[1] - kMargin));

  goal[1] = kNan;
  CHECK(plan(goal, 10.0, move)->fault == Fault::kTargetInvalid);
  CHECK(plan(test::kHome, kNan, move)->fault == Fault::kTargetInvalid);
  CHECK(plan(test::kHome, std::numeric_limits<double>::infinity(), move)->fault ==
        Fault::kTargetInvalid);
}

TEST_CASE("a refused move leaves the current one as it was") {
  JointMove move(test::kHome, test::kHome, 2.0);
  CHECK(plan(Vec7::Constant(100.0), 1.0, move));
  CHECK(move.duration_s() == 2.0);
  CHECK(move.goal() == test::kHome);
}
