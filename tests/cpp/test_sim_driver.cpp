// The simulated arm as a driver: time, placements from another thread, the gripper.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "core/error.hpp"
#include "drivers/sim_driver.hpp"
#include "sim_support.hpp"

using namespace serl_rt;
using serl_rt::test::asset;
using serl_rt::test::home;

namespace {

SimDriverConfig config(Pacing pacing = Pacing::kLockstep) {
  return {asset("pick_cube.xml"), pacing, home()};
}

void ticks(SimDriver& driver, State& state, int count) {
  for (int i = 0; i < count; ++i) {
    REQUIRE(driver.read(state));
    REQUIRE(driver.write(state.coriolis));
  }
}

}  // namespace

TEST_CASE("robot time advances by one millisecond per tick and survives a placement") {
  SimDriver driver(config());
  State state;
  ticks(driver, state, 10);
  CHECK(state.time_ns == 9 * kTickNs);
  CHECK((state.q - home()).norm() < 1e-9);
  driver.place_arm(home());
  ticks(driver, state, 1);
  CHECK(state.time_ns == 10 * kTickNs);
}

TEST_CASE("a torque acts from the state it was computed for") {
  SimDriver driver(config());
  State state;
  REQUIRE(driver.read(state));
  CHECK(state.dq == Vec7::Zero());
  driver.write(Vec7::Unit(0) * 5.0);
  REQUIRE(driver.read(state));
  CHECK(state.dq[0] > 1e-4);
  CHECK(state.tau_J_d[0] == 5.0);
}

TEST_CASE("placements take effect at the next read") {
  SimDriver driver(config());
  const FreeBody cube = driver.find_object("cube");
  State state;
  ticks(driver, state, 5);
  Vec7 q = home();
  q[0] = 0.4;

  SUBCASE("arm, then cube") {
    driver.place_arm(q);
    driver.place_object(cube, {Vec3(0.45, 0.1, 0.02), Quat::Identity()});
  }
  SUBCASE("cube, then arm") {
    driver.place_object(cube, {Vec3(0.55, 0.0, 0.02), Quat::Identity()});
    driver.place_object(cube, {Vec3(0.45, 0.1, 0.02), Quat::Identity()});
    driver.place_arm(q);
  }
  // The policy side sees what it asked for before the physics does.
  CHECK(driver.scene().position(cube) == Vec3(0.45, 0.1, 0.02));
  CHECK(driver.scene().qpos[0] == 0.4);
  CHECK(driver.read(state));
  CHECK(state.q == q);
  CHECK(state.dq == Vec7::Zero());
  CHECK(driver.scene().position(cube) == Vec3(0.45, 0.1, 0.02));
}

TEST_CASE("an applied placement is not repeated by the next one") {
  SimDriver driver(config());
  const FreeBody cube = driver.find_object("cube");
  State state;
  Vec7 q = home();
  q[0] = 0.4;
  driver.place_arm(q);
  for (int i = 0; i < 50; ++i) {
    REQUIRE(driver.read(state));
    driver.write(Vec7::Unit(0) * 10.0);
  }
  const double moved = state.q[0];
  REQUIRE(moved > 0.401);
  driver.place_object(cube, {Vec3(0.45, 0.1, 0.02), Quat::Identity()});
  REQUIRE(driver.read(state));
  CHECK(state.q[0] > moved);
  CHECK(driver.scene().position(cube).y() == 0.1);
}

TEST_CASE("only lockstep puts the arm back where it started") {
  for (const Pacing pacing : {Pacing::kLockstep, Pacing::kRealtime}) {
    SimDriver driver(config(pacing));
    State state;
    for (int i = 0; i < 50; ++i) {
      REQUIRE(driver.read(state));
      driver.write(Vec7::Unit(0) * 10.0);
    }
    REQUIRE(state.q[0] > 0.001);
    driver.return_to_start();
    REQUIRE(driver.read(state));
    CHECK((state.q == home()) == (pacing == Pacing::kLockstep));
  }
}

TEST_CASE("placing the arm opens the gripper") {
  SimDriver driver(config());
  SimGripper gripper(driver);
  State state;
  gripper.command(0.0);
  ticks(driver, state, 500);
  CHECK(gripper.opening() < 0.02);
  driver.place_arm(home());
  ticks(driver, state, 100);
  CHECK(gripper.opening() > 0.99);
}

TEST_CASE("gripper commands are limited to 0..1") {
  SimDriver driver(config());
  SimGripper gripper(driver);
  State state;
  CHECK(gripper.max_width() == doctest::Approx(0.08));
  gripper.command(-3.0);
  ticks(driver, state, 800);
  CHECK(gripper.opening() == doctest::Approx(0.0).epsilon(0.01));
  gripper.command(7.0);
  ticks(driver, state, 800);
  CHECK(gripper.opening() == doctest::Approx(1.0).epsilon(0.01));
  CHECK(state.gripper_width <= 0.0801);
}

TEST_CASE("realtime is never faster than the clock") {
  SimDriver driver(config(Pacing::kRealtime));
  State state;
  const auto begin = std::chrono::steady_clock::now();
  ticks(driver, state, 100);
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  CHECK(elapsed >= std::chrono::milliseconds(100 - 1));
  CHECK(state.time_ns == 99 * kTickNs);
}

TEST_CASE("realtime gives up missed time when it is far behind") {
  SimDriver driver(config(Pacing::kRealtime));
  State state;
  ticks(driver, state, 1);
  const std::uint64_t before = driver.resyncs();
  std::this_thread::sleep_for(std::chrono::milliseconds(SimDriver::kResyncTicks + 5));
  ticks(driver, state, 1);
  CHECK(driver.resyncs() == before + 1);
  const auto begin = std::chrono::steady_clock::now();
  ticks(driver, state, 10);
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(9));
}

TEST_CASE("a policy thread places objects and reads scenes while the control thread ticks") {
  SimDriver driver(config(Pacing::kLockstep));
  SimGripper gripper(driver);
  const FreeBody cube = driver.find_object("cube");
  std::atomic<bool> stop = false;
  std::thread control([&] {
    State state;
    while (!stop.load() && driver.read(state) && driver.write(state.coriolis)) {
    }
  });
  for (int i = 1; i <= 300; ++i) {
    const Vec3 where(0.4 + 0.0005 * i, 0.0, 0.02);
    driver.place_object(cube, {where, Quat::Identity()});
    gripper.command(i % 2);
    // From here on no older placement may show, and the cube lies where it was put.
    for (int k = 0; k < 20; ++k) {
      CHECK((driver.scene().position(cube) - where).norm() < 1e-4);
    }
    CHECK(gripper.opening() <= 1.0);
  }
  stop = true;
  control.join();
}

TEST_CASE("a model that is not there is refused") {
  CHECK_THROWS_WITH_AS(SimDriver({asset("missing.xml"), Pacing::kLockstep, home()}),
                       doctest::Contains("missing.xml"), Error);
}
