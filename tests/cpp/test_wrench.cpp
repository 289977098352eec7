// The law of the wrench mode: caps, box, speed in free motion, passivity.
#include "core/wrench.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "arm_model.hpp"
#include "core/target_check.hpp"

using namespace serl_rt;
using test::Arm;
using test::Random;

namespace {

// A box of 20 cm around where the arm begins.
Workspace box_around(const Vec3& centre) {
  return {centre - Vec3::Constant(0.1), centre + Vec3::Constant(0.1)};
}

struct Pushed {
  explicit Pushed(const WrenchConfig& config = {})
      : law(config, box_around(arm.state().O_T_EE.position)) {
    law.enter(arm.state());
  }
  void run(int ticks) {
    for (int i = 0; i < ticks; ++i) arm.step(law.torque(arm.state()));
  }
  double energy() const {
    const State state = arm.state();
    return 0.5 * state.dq.dot(Arm::inertia().cwiseProduct(state.dq));
  }

  Arm arm;
  WrenchLaw law;
};

}  // namespace

TEST_CASE("the command is capped per axis and reached smoothly") {
  Pushed pushed;
  const State state = pushed.arm.state();  // an arm that is held in place
  Vec6 command;
  command << 500.0, -500.0, 3.0, 50.0, 0.0, -50.0;
  pushed.law.command(command);
  Vec6 before = Vec6::Zero();
  for (int i = 0; i < 300; ++i) {
    pushed.law.torque(state);
    const Vec6 step = (pushed.law.wrench() - before).cwiseAbs();
    REQUIRE(step.maxCoeff() <= 20.0 / 20.0 + 1e-9);  // a twentieth of the cap per tick
    before = pushed.law.wrench();
  }
  Vec6 capped;
  capped << 20.0, -20.0, 3.0, 5.0, 0.0, -5.0;
  CHECK((pushed.law.wrench() - capped).norm() < 1e-3);
}

TEST_CASE("in free motion the arm goes no faster than command over damping") {
  for (int axis = 0; axis < 3; ++axis) {
    Pushed pushed;
    Vec6 command = Vec6::Zero();
    command[axis] = 20.0;
    pushed.law.command(command);
    double fastest = 0.0;
    for (int i = 0; i < 3000; ++i) {
      pushed.run(1);
      fastest = std::max(fastest, tcp_twist(pushed.arm.state()).head<3>().norm());
    }
    CHECK(fastest < 0.27);
    CHECK(fastest > 0.05);
  }
}

TEST_CASE("no command pushes the end effector out of its box") {
  Random random(81);
  for (int round = 0; round < 20; ++round) {
    Pushed pushed;
    const Workspace box = box_around(pushed.arm.state().O_T_EE.position);
    const Quat start = pushed.arm.state().O_T_EE.orientation;
    for (int part = 0; part < 6; ++part) {
      pushed.law.command(random.vector<Vec6>(-100.0, 100.0));
      for (int i = 0; i < 1500; ++i) {
        pushed.run(1);
        const Pose tcp = pushed.arm.state().O_T_EE;
        // It may swing over a face by a little: it arrives with speed.
        REQUIRE((box.low - tcp.position).maxCoeff() < 0.01);
        REQUIRE((tcp.position - box.high).maxCoeff() < 0.01);
        REQUIRE(rotation_from(start, tcp.orientation).cwiseAbs().maxCoeff() < 0.36);
      }
    }
  }
}

TEST_CASE("without a command the law takes energy out of the arm") {
  Random random(82);
  for (int round = 0; round < 30; ++round) {
    Pushed pushed;
    pushed.arm.set_velocity(random.vector<Vec7>(-0.3, 0.3));
    double energy = pushed.energy();
    // Away from the faces nothing but dampers acts: the energy falls in every tick.
    for (int i = 0; i < 100; ++i) {
      pushed.run(1);
      REQUIRE(pushed.energy() <= energy + 1e-12);
      energy = pushed.energy();
    }
    pushed.run(5000);
    CHECK(pushed.arm.state().dq.norm() < 0.02);
  }
}

TEST_CASE("a rotation vector goes the short way, and small turns are exact") {
  Random random(83);
  for (int i = 0; i < 200; ++i) {
    const Quat from = random.rotation();
    const Vec3 turn = random.vector<Vec3>(-1.5, 1.5);
    const Quat to = Quat(Eigen::AngleAxisd(turn.norm(), turn.normalized())) * from;
    CHECK((rotation_from(from, Quat(-to.coeffs())) - turn).norm() < 1e-9);
  }
  CHECK(rotation_from(Quat::Identity(), Quat::Identity()).norm() == 0.0);
}

TEST_CASE("a configuration out of range is refused by name") {
  CHECK(validate(WrenchConfig{}).empty());
  WrenchConfig config;
  config.cap[1] = 100.0;
  CHECK(validate(config).find("force cap [N] = 100") != std::string::npos);
  config = {};
  config.timeout_s = 1.0;
  CHECK(validate(config).find("timeout_s = 1") != std::string::npos);
  config = {};
  config.translational_damping = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(validate(config).empty());
}
