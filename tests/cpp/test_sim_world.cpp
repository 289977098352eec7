// The simulated arm's physics: what State says agrees with how the arm moves, and cubes can be
// held.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "core/error.hpp"
#include "drivers/random.hpp"
#include "drivers/sim_world.hpp"
#include "sim_support.hpp"

using namespace serl_rt;
using serl_rt::test::asset;
using serl_rt::test::Hand;
using serl_rt::test::home;

namespace {

Vec7 random_configuration(Random& random) {
  Vec7 q = home();
  for (int i = 0; i < kJoints; ++i) q[i] += random.uniform(-0.5, 0.5);
  return q;
}

State at_rest(SimWorld& world, const Vec7& q) {
  State state;
  world.reset(q, 1.0);
  world.observe(state);
  return state;
}

// The asset with `from` replaced, beside copies of what it includes.
std::filesystem::path altered_model(const std::string& from, const std::string& to) {
  const auto folder = std::filesystem::temp_directory_path() / "serl_rt_test_sim_world";
  std::filesystem::create_directories(folder);
  for (const char* name : {"fr3.xml", "scene.xml", "reach.xml"}) {
    std::ifstream in(asset(name));
    std::string text{std::istreambuf_iterator<char>(in), {}};
    for (std::size_t at = text.find(from); at != std::string::npos;
         at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
    std::ofstream(folder / name) << text;
  }
  return folder / "reach.xml";
}

std::string refusal(const std::string& from, const std::string& to) {
  try {
    SimWorld world(altered_model(from, to));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Vec3 position(const SimWorld& world, FreeBody body) {
  return Vec3::Map(world.qpos().data() + body.qpos);
}

}  // namespace

TEST_CASE("the zero Jacobian is the derivative of the pose") {
  SimWorld world(asset("reach.xml"));
  Random random(1);
  constexpr double kStep = 1e-6;
  for (int trial = 0; trial < 50; ++trial) {
    const Vec7 q = random_configuration(random);
    const Jacobian jacobian = at_rest(world, q).zero_jacobian;
    for (int i = 0; i < kJoints; ++i) {
      const Vec7 step = Vec7::Unit(i) * kStep;
      const Pose ahead = at_rest(world, q + step).O_T_EE;
      const Pose behind = at_rest(world, q - step).O_T_EE;
      Vec6 derivative;
      derivative.head<3>() = (ahead.position - behind.position) / (2.0 * kStep);
      const Quat turn = ahead.orientation * behind.orientation.conjugate();
      derivative.tail<3>() = 2.0 * turn.vec() * (turn.w() < 0.0 ? -1.0 : 1.0) / (2.0 * kStep);
      CHECK((derivative - jacobian.col(i)).cwiseAbs().maxCoeff() < 1e-8);
    }
  }
}

TEST_CASE("the orientation's sign never jumps") {
  SimWorld world(asset("reach.xml"));
  Vec7 q = home();
  Quat before = at_rest(world, q).O_T_EE.orientation;
  for (int i = 0; i < 2000; ++i) {
    q[4] = 1.5 * std::sin(0.01 * i);
    q[5] = 2.16 + std::sin(0.013 * i);
    const Quat now = at_rest(world, q).O_T_EE.orientation;
    CHECK(now.dot(before) > 0.99);
    before = now;
  }
}

TEST_CASE("without torque the arm stays: it compensates its own weight") {
  SimWorld world(asset("reach.xml"));
  Random random(2);
  for (int trial = 0; trial < 5; ++trial) {
    const Vec7 q = random_configuration(random);
    State state = at_rest(world, q);
    CHECK(state.gravity.cwiseAbs().maxCoeff() > 5.0);
    for (int i = 0; i < 1000; ++i) {
      world.observe(state);
      world.step(Vec7::Zero());
    }
    CHECK((state.q - q).cwiseAbs().maxCoeff() < 1e-9);
  }
}

TEST_CASE("coriolis torque is what makes M ddq = tau - D dq hold while the arm moves") {
  SimWorld world(asset("reach.xml"));
  const Vec7 damping = Vec7::Constant(0.5);  // of the model's joints [Nm s/rad]
  State moving = at_rest(world, home());
  const Vec7 push{20.0, 8.0, -15.0, 10.0, 3.0, -3.0, 2.0};
  for (int i = 0; i < 150; ++i) {
    world.step(push);
    world.observe(moving);
  }
  REQUIRE(moving.coriolis.norm() > 1.0);
  world.step(moving.coriolis);
  State after;
  world.observe(after);
  const Vec7 acceleration = (after.dq - moving.dq) / kTickSeconds;

  // The inverse of the mass matrix (with the integrator's h D), column by column, from rest.
  Eigen::Matrix<double, 7, 7> inverse_mass;
  for (int i = 0; i < kJoints; ++i) {
    State state = at_rest(world, moving.q);
    world.step(Vec7::Unit(i));
    world.observe(state);
    inverse_mass.col(i) = state.dq / kTickSeconds;
  }
  const Vec7 residual = inverse_mass.inverse() * acceleration + damping.cwiseProduct(moving.dq);
  CHECK(residual.norm() < 0.01 * moving.coriolis.norm());
}

TEST_CASE("measured torque is the commanded one and gravity's") {
  SimWorld world(asset("reach.xml"));
  State state = at_rest(world, home());
  const Vec7 tau{1.0, 2.0, 3.0, 4.0, 0.5, 0.6, 0.7};
  world.step(tau);
  world.observe(state);
  CHECK(state.tau_J_d == tau);
  CHECK((state.tau_J - tau - state.gravity).norm() == doctest::Approx(0.0));
}

TEST_CASE("a cube is grasped, lifted and held, and its weight is felt") {
  SimWorld world(asset("pick_cube.xml"));
  const FreeBody cube = world.find_object("cube");
  State state = at_rest(world, home());
  const Vec3 start{0.52, -0.07, 0.02};
  world.place_object(cube, {start, Quat::Identity()});
  Hand hand(state);
  const auto move_to = [&](const Vec3& goal, int ticks) {
    for (int i = 0; i < ticks; ++i) {
      world.observe(state);
      world.step(hand.torque_towards(goal, state));
    }
  };
  move_to({start.x(), start.y(), 0.1}, 2000);
  move_to(start, 1000);
  CHECK(position(world, cube).z() == doctest::Approx(0.02).epsilon(0.01));
  CHECK(state.gripper_width == doctest::Approx(0.08).epsilon(0.01));
  CHECK(state.O_F_ext.norm() < 1e-3);

  world.command_gripper(0.0);
  move_to(start, 500);
  CHECK(state.gripper_width == doctest::Approx(0.04).epsilon(0.05));

  move_to({0.50, 0.10, 0.30}, 4000);
  CHECK((position(world, cube) - state.O_T_EE.position).norm() < 0.005);
  CHECK(state.O_F_ext[2] == doctest::Approx(0.1 * 9.81).epsilon(0.02));

  world.command_gripper(1.0);
  move_to({0.50, 0.10, 0.30}, 1500);
  CHECK(position(world, cube).z() < 0.03);
  CHECK(world.healthy());
}

TEST_CASE("the wrench is what the robot applies: pressing down gives a negative force") {
  SimWorld world(asset("reach.xml"));
  State state = at_rest(world, home());
  Hand hand(state);
  for (int i = 0; i < 4000; ++i) {
    world.observe(state);
    world.step(hand.torque_towards({0.5, 0.0, -0.01}, state));
  }
  // The finger tips end 8.8 mm below the tool centre point; the law pulls with 1500 N/m.
  const double expected = -1500.0 * (state.O_T_EE.position.z() + 0.01);
  CHECK(expected < -20.0);
  CHECK(state.O_F_ext[2] == doctest::Approx(expected).epsilon(0.05));
}

TEST_CASE("the gripper goes to any opening and stays symmetric") {
  SimWorld world(asset("reach.xml"));
  State state = at_rest(world, home());
  for (const double opening : {0.0, 0.5, 1.0, 0.25}) {
    world.command_gripper(opening);
    for (int i = 0; i < 1000; ++i) {
      world.observe(state);
      world.step(state.coriolis);
    }
    CHECK(world.gripper_opening() == doctest::Approx(opening).epsilon(0.01));
    CHECK(state.gripper_width ==
          doctest::Approx(opening * world.max_gripper_width()).epsilon(0.01));
    CHECK(std::abs(world.qpos()[7] - world.qpos()[8]) < 1e-5);
  }
}

TEST_CASE("the same torques from a reset give the same bits") {
  SimWorld world(asset("pick_cube.xml"));
  const FreeBody cube = world.find_object("cube");
  const auto run = [&] {
    State state = at_rest(world, home());
    world.place_object(cube, {Vec3(0.45, 0.0, 0.02), Quat::Identity()});
    Hand hand(state);
    world.command_gripper(0.3);
    for (int i = 0; i < 1500; ++i) {
      world.observe(state);
      world.step(hand.torque_towards({0.42, 0.02, 0.02}, state));
    }
    return std::vector<double>(world.qpos().begin(), world.qpos().end());
  };
  const auto first = run();
  CHECK(first == run());
}

TEST_CASE("a diverged simulation is not healthy") {
  SimWorld world(asset("pick_cube.xml"));
  State state = at_rest(world, home());
  CHECK(world.healthy());
  world.place_object(world.find_object("cube"),
                     {Vec3::Constant(std::numeric_limits<double>::quiet_NaN()), Quat::Identity()});
  world.observe(state);
  CHECK_FALSE(world.healthy());
  world.reset(home(), 1.0);
  world.observe(state);
  CHECK(world.healthy());
}

TEST_CASE("an unusable model is refused with the reason") {
  CHECK(refusal("timestep=\"0.001\"", "timestep=\"0.002\"").find("0.002") != std::string::npos);
  CHECK(refusal("site name=\"tcp\"", "site name=\"tool\"").find("tcp") != std::string::npos);
  CHECK(refusal("name=\"joint4\"", "name=\"elbow\"").find("joint4") != std::string::npos);
  CHECK(refusal("gravcomp=\"1\"", "").find("gravcomp") != std::string::npos);
  CHECK(refusal("ctrlrange=\"0 0.08\"", "").find("ctrlrange") != std::string::npos);
  CHECK(refusal("</mujocoinclude>", "").find("reach.xml") != std::string::npos);
  CHECK_THROWS_AS(SimWorld("/nonexistent.xml"), Error);
  SimWorld world(asset("reach.xml"));
  CHECK_THROWS_WITH_AS(world.find_object("cube"), doctest::Contains("cube"), Error);
  CHECK_THROWS_WITH_AS(world.find_object("hand"), doctest::Contains("freejoint"), Error);
}
