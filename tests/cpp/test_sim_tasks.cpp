// The simulated tasks: seeded starts, what they observe, what they pay.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "core/error.hpp"
#include "drivers/random.hpp"
#include "drivers/sim_tasks.hpp"
#include "sim_support.hpp"

using namespace serl_rt;
using serl_rt::test::asset;
using serl_rt::test::home;

namespace {

Vec3 observed(const Task& task, std::size_t field, const State& state) {
  std::array<float, 3> out{};
  task.observe(field, state, out);
  return Eigen::Map<const Eigen::Vector3f>(out.data()).cast<double>();
}

struct Scenario {
  SimTaskConfig config;
  SimDriver driver;
  std::unique_ptr<Task> task;
  State state;

  explicit Scenario(const SimTaskConfig& task_config)
      : config(task_config),
        driver({asset(config.model.c_str()), Pacing::kLockstep, home()}),
        task(make_sim_task(config, driver)) {
    REQUIRE(driver.read(state));
  }

  // The outcome with the cube there and the tool centre point `above` it.
  Outcome outcome(const Vec3& cube, double above) {
    driver.place_object(driver.find_object("cube"), {cube, Quat::Identity()});
    REQUIRE(driver.read(state));
    task->snapshot();
    state.O_T_EE.position = cube + Vec3(0.0, 0.0, above);
    return task->evaluate(state);
  }
};

SimTaskConfig reach_config() {
  SimTaskConfig config;
  config.task = "reach";
  config.model = "reach.xml";
  return config;
}

}  // namespace

TEST_CASE("random numbers are SplitMix64's") {
  Random random(1234567);
  CHECK(random.next() == 6457827717110365317U);
  CHECK(random.next() == 3203168211198807973U);
  CHECK(random.next() == 9817491932198370423U);
  double mean = 0.0;
  for (int i = 0; i < 10000; ++i) {
    const double value = random.uniform(-2.0, 6.0);
    REQUIRE(value >= -2.0);
    REQUIRE(value < 6.0);
    mean += value / 10000.0;
  }
  CHECK(mean == doctest::Approx(2.0).epsilon(0.05));
}

TEST_CASE("the cube's start follows from the seed and fills the range") {
  Scenario pick{SimTaskConfig{}};
  Vec3 low = Vec3::Constant(1.0);
  Vec3 high = Vec3::Constant(-1.0);
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    pick.task->reset(seed);
    const Vec3 start = observed(*pick.task, 0, pick.state);
    pick.task->reset(seed + 1);
    CHECK(observed(*pick.task, 0, pick.state) != start);
    pick.task->reset(seed);
    CHECK(observed(*pick.task, 0, pick.state) == start);
    REQUIRE(pick.driver.read(pick.state));
    pick.task->snapshot();
    CHECK(observed(*pick.task, 0, pick.state) == start);
    low = low.cwiseMin(start);
    high = high.cwiseMax(start);
  }
  CHECK(low.x() >= 0.40F);
  CHECK(low.x() < 0.41);
  CHECK(high.x() <= 0.60F);
  CHECK(high.x() > 0.59);
  CHECK(low.y() >= -0.15F);
  CHECK(low.y() < -0.14);
  CHECK(high.y() <= 0.15F);
  CHECK(high.y() > 0.14);
}

TEST_CASE("an episode begins with the arm at its start and the cube at rest") {
  for (const SimTaskConfig& config : {SimTaskConfig{}, reach_config()}) {
    Scenario scenario{config};
    for (int i = 0; i < 100; ++i) {
      scenario.driver.write(Vec7{20.0, 10.0, -10.0, 5.0, 3.0, 2.0, 1.0});
      REQUIRE(scenario.driver.read(scenario.state));
    }
    REQUIRE((scenario.state.q - home()).norm() > 0.01);
    scenario.task->reset(1);
    REQUIRE(scenario.driver.read(scenario.state));
    CHECK(scenario.state.q == home());
    CHECK(scenario.state.dq == Vec7::Zero());
    scenario.task->snapshot();
    const Vec3 before = observed(*scenario.task, 0, scenario.state);
    for (int i = 0; i < 200; ++i) {
      scenario.driver.write(scenario.state.coriolis);
      REQUIRE(scenario.driver.read(scenario.state));
    }
    scenario.task->snapshot();
    CHECK((observed(*scenario.task, 0, scenario.state) - before).norm() < 2e-4);
    CHECK((scenario.state.q - home()).norm() < 1e-6);
  }
}

TEST_CASE("pick_cube observes the cube and the way to it") {
  Scenario pick{SimTaskConfig{}};
  REQUIRE(pick.task->fields().size() == 2);
  CHECK(pick.task->fields()[0].name == "cube_position");
  CHECK(pick.task->fields()[1].name == "tcp_to_cube");
  pick.task->reset(3);
  const Vec3 cube = observed(*pick.task, 0, pick.state);
  const Vec3 way = observed(*pick.task, 1, pick.state);
  CHECK((pick.state.O_T_EE.position + way - cube).norm() < 1e-6);
}

TEST_CASE("pick_cube, dense: nearness and height, success when lifted and held") {
  Scenario pick{SimTaskConfig{}};
  const Vec3 table{0.5, 0.0, 0.02};
  CHECK(pick.outcome(table, 0.0).reward == doctest::Approx(0.3));
  CHECK(pick.outcome(table, 0.1).reward == doctest::Approx(0.3 * std::exp(-2.0)));
  CHECK_FALSE(pick.outcome(table, 0.0).success);
  CHECK(pick.outcome({0.5, 0.0, 0.07}, 0.0).reward == doctest::Approx(0.3 + 0.35));
  CHECK_FALSE(pick.outcome({0.5, 0.0, 0.1199}, 0.0).success);
  CHECK(pick.outcome({0.5, 0.0, 0.1201}, 0.0).success);
  CHECK(pick.outcome({0.5, 0.0, 0.32}, 0.0).reward == doctest::Approx(1.0));
  CHECK(pick.outcome({0.5, 0.0, 0.32}, 0.049).success);
  CHECK_FALSE(pick.outcome({0.5, 0.0, 0.32}, 0.051).success);  // thrown, not held
}

TEST_CASE("pick_cube, sparse: one at success, else nothing") {
  SimTaskConfig config;
  config.sparse_reward = true;
  config.lift_height = 0.2;
  Scenario pick{config};
  CHECK(pick.outcome({0.5, 0.0, 0.219}, 0.0).reward == 0.0);
  CHECK(pick.outcome({0.5, 0.0, 0.221}, 0.0).reward == 1.0);
  CHECK(pick.outcome({0.5, 0.0, 0.221}, 0.0).success);
}

TEST_CASE("reach: goal from the seed, reward from the distance") {
  Scenario reach{reach_config()};
  CHECK(reach.task->fields()[0].name == "goal_position");
  CHECK(reach.task->fields()[1].name == "tcp_to_goal");
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    reach.task->reset(seed);
    const Vec3 goal = observed(*reach.task, 0, reach.state);
    CHECK(((goal - reach.config.goal_low).array() >= -1e-6).all());
    CHECK(((reach.config.goal_high - goal).array() >= -1e-6).all());
    reach.task->reset(seed);
    CHECK(observed(*reach.task, 0, reach.state) == goal);

    State state = reach.state;
    state.O_T_EE.position = goal + Vec3(0.0, 0.1, 0.0);
    CHECK(reach.task->evaluate(state).reward == doctest::Approx(-0.5).epsilon(1e-5));
    CHECK_FALSE(reach.task->evaluate(state).success);
    CHECK((observed(*reach.task, 1, state) - Vec3(0.0, -0.1, 0.0)).norm() < 1e-6);
    state.O_T_EE.position = goal + Vec3(0.019, 0.0, 0.0);
    CHECK(reach.task->evaluate(state).success);
    CHECK(reach.task->evaluate(state).reward == doctest::Approx(1.0 - 5.0 * 0.019).epsilon(1e-5));
  }
}

TEST_CASE("reach, sparse") {
  SimTaskConfig config = reach_config();
  config.sparse_reward = true;
  Scenario reach{config};
  reach.task->reset(0);
  State state = reach.state;
  CHECK(reach.task->evaluate(state).reward == 0.0);
  state.O_T_EE.position = observed(*reach.task, 0, reach.state);
  CHECK(reach.task->evaluate(state).reward == 1.0);
}

namespace {

SimTaskConfig peg_config() {
  SimTaskConfig config;
  config.task = "peg_insert";
  config.model = "peg_insert.xml";
  return config;
}

// Moves the hand for `ticks` towards `goal`; returns the hardest upward push of the hole's rim on
// the hand [N].
double move_hand(Scenario& peg, const Vec3& goal, int ticks) {
  test::Hand hand(peg.state);
  double hardest = 0.0;
  for (int i = 0; i < ticks; ++i) {
    peg.driver.write(hand.torque_towards(goal, peg.state));
    REQUIRE(peg.driver.read(peg.state));
    hardest = std::max(hardest, std::abs(peg.state.O_F_ext[2]));
  }
  peg.task->snapshot();
  return hardest;
}

// Where the tool centre point is with the peg's tip on the hole's axis, `above` the rim.
Vec3 over_hole(const Scenario& peg, double above) {
  const Vec3 tip = observed(*peg.task, 0, peg.state) - observed(*peg.task, 1, peg.state);
  const Vec3 tcp_from_tip = peg.state.O_T_EE.position - tip;
  return observed(*peg.task, 0, peg.state) + tcp_from_tip + Vec3(0.0, 0.0, above);
}

}  // namespace

TEST_CASE("peg_insert: the hole's place follows from the seed and fills the range") {
  Scenario peg{peg_config()};
  CHECK(peg.task->fields()[0].name == "hole_position");
  CHECK(peg.task->fields()[1].name == "tip_to_hole");
  Vec3 low = Vec3::Constant(1.0);
  Vec3 high = Vec3::Constant(-1.0);
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    peg.task->reset(seed);
    const Vec3 hole = observed(*peg.task, 0, peg.state);
    CHECK(hole.z() == doctest::Approx(0.05));
    low = low.cwiseMin(hole);
    high = high.cwiseMax(hole);
    peg.task->reset(seed);
    CHECK(observed(*peg.task, 0, peg.state) == hole);
  }
  for (int i = 0; i < 2; ++i) {
    CHECK(low[i] >= peg.config.hole_low[i] - 1e-6);
    CHECK(low[i] < peg.config.hole_low[i] + 0.01);
    CHECK(high[i] <= peg.config.hole_high[i] + 1e-6);
    CHECK(high[i] > peg.config.hole_high[i] - 0.01);
  }
}

TEST_CASE("peg_insert: the peg goes in over the hole, and lands on the rim beside it") {
  for (const double aside : {0.0, 0.02}) {
    CAPTURE(aside);
    Scenario peg{peg_config()};
    peg.task->reset(4);
    REQUIRE(peg.driver.read(peg.state));
    peg.task->snapshot();
    const Vec3 over = over_hole(peg, 0.02) + Vec3(aside, 0.0, 0.0);
    move_hand(peg, over, 2500);
    CHECK_FALSE(peg.task->evaluate(peg.state).success);
    const double before = peg.task->evaluate(peg.state).reward;
    CHECK(before <= 0.3);
    const double push = move_hand(peg, over - Vec3(0.0, 0.0, 0.055), 1500);
    const Outcome outcome = peg.task->evaluate(peg.state);
    const double depth = observed(*peg.task, 1, peg.state).z();
    if (aside == 0.0) {
      CHECK(outcome.success);
      CHECK(depth >= peg.config.insertion_depth);
      CHECK(outcome.reward > 0.7);
    } else {
      CHECK_FALSE(outcome.success);
      CHECK(depth < 0.005);
      CHECK(outcome.reward <= 0.3);
      CHECK(push > 5.0);
    }
    peg.task->reset(4);  // out of the hole, in the hand, at the start
    REQUIRE(peg.driver.read(peg.state));
    peg.task->snapshot();
    CHECK(peg.state.q == home());
    CHECK(observed(*peg.task, 1, peg.state).z() < -0.05);
    CHECK_FALSE(peg.task->evaluate(peg.state).success);
  }
}

TEST_CASE("a wrong configuration is refused with name, value and what is allowed") {
  CHECK(validate(SimTaskConfig{}).empty());
  SimTaskConfig config;
  config.task = "juggle";
  CHECK(validate(config) == "task = \"juggle\" must be \"pick_cube\", \"reach\" or \"peg_insert\"");
  config = {};
  config.cube_low[1] = 0.3;
  CHECK(validate(config).find("cube_low[1] = 0.3") == 0);
  config = {};
  config.goal_high[2] = std::nan("");
  CHECK(validate(config).find("goal_low[2]") == 0);
  config = {};
  config.lift_height = 0.0;
  CHECK(validate(config).find("lift_height") == 0);
  config = {};
  config.goal_tolerance = -1.0;
  SimDriver driver({asset("reach.xml"), Pacing::kLockstep, home()});
  CHECK_THROWS_WITH_AS(make_sim_task(config, driver), doctest::Contains("goal_tolerance"), Error);
  CHECK_THROWS_WITH_AS(make_sim_task(SimTaskConfig{}, driver), doctest::Contains("cube"), Error);
}
