#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "app/robot_connection.hpp"
#include "arm_model.hpp"

using namespace serl_rt;

namespace {

// A robot that gets lost in a given way, and comes back when start() has failed often enough.
class Robot final : public RobotDriver {
 public:
  explicit Robot(std::vector<Trouble> losses) : losses_(std::move(losses)) {}

  Trouble start() override {
    ++starts;
    if (failures_left_ > 0) {
      --failures_left_;
      return trouble_;
    }
    return refusal;
  }
  bool read(State& state) noexcept override {
    if (++reads_ % kTicksEach != 0) return arm_.read(state);
    if (next_loss_ == losses_.size()) {
      stop_asked = true;
      return arm_.read(state);
    }
    trouble_ = losses_[next_loss_++];
    failures_left_ = fails_after_loss;
    return false;
  }
  bool write(const Vec7& tau) noexcept override { return arm_.write(tau); }
  Trouble trouble() const override { return trouble_; }
  void stop() noexcept override { ++stops; }

  static constexpr int kTicksEach = 20;
  Trouble refusal;  // of every start()
  int fails_after_loss = 0;
  int starts = 0;
  int stops = 0;
  std::atomic<bool> stop_asked = false;  // when nothing is left to happen

 private:
  test::Arm arm_;
  std::vector<Trouble> losses_;
  std::size_t next_loss_ = 0;
  int reads_ = 0;
  int failures_left_ = 0;
  Trouble trouble_;
};

struct Run {
  explicit Run(std::vector<Trouble> troubles) : robot(std::move(troubles)) {}

  bool operator()() {
    return connection.run(robot.stop_asked,
                          {[this] { ++begun; },
                           [this](const Trouble& trouble) { losses.push_back(loss_name(trouble)); },
                           [this] { ++persons; }});
  }

  Robot robot;
  Controller controller{ControllerConfig{}};
  ControlLoop loop{robot, controller};
  RobotConnection connection{robot, loop, controller, RecoveryLimit{}};
  int begun = 0;
  int persons = 0;
  std::vector<std::string> losses;  // names
};

const Trouble kReflex{Absence::kReflex, "the robot stopped itself [\"joint_velocity_violation\"]"};
const Trouble kUserStop{Absence::kOperator, "the user stop is pressed"};
const Trouble kNetwork{Absence::kNetwork, "the robot does not answer"};

}  // namespace

TEST_CASE("a reflex is cleared, counted by its name, and leaves the arm stopped") {
  Run run({kReflex});
  CHECK(run());
  const RobotStatus status = run.connection.status();
  CHECK(status.recoveries == 1);
  CHECK(status.absences == 1);
  CHECK(status.reflexes.at("joint_velocity_violation") == 1);
  CHECK(run.losses == std::vector<std::string>{"joint_velocity_violation"});
  REQUIRE(status.recent.size() == 1);
  CHECK(status.recent[0].cause == kReflex.what);
  CHECK(status.recent[0].name == "joint_velocity_violation");
  CHECK(run.controller.status().stopped);
  CHECK(run.begun == 2);
  CHECK(run.persons == 0);
  CHECK(run.robot.stops == 1);
}

TEST_CASE("a lost network is tried again until it is back") {
  Run run({kNetwork});
  run.robot.fails_after_loss = 2;
  CHECK(run());
  CHECK(run.losses == std::vector<std::string>{"driver_lost_network"});
  CHECK(run.robot.starts == 4);
  CHECK(run.connection.status().recoveries == 1);
  CHECK(run.persons == 0);
}

TEST_CASE("a stop by a person is told once in each absence, whoever notices it") {
  Run run({kUserStop, kUserStop});
  run.robot.fails_after_loss = 2;
  CHECK(run());
  CHECK(run.connection.status().recoveries == 2);
  CHECK(run.persons == 2);
}

TEST_CASE("more reflexes than allowed need a person") {
  Run run(std::vector<Trouble>(RecoveryLimit{}.reflexes + 1, kReflex));
  run.robot.refusal = {};
  // What the operator's command does while the control thread waits for it.
  std::atomic<bool> done = false;
  bool needed = false;
  std::thread person([&] {
    while (!done && !run.connection.status().needs_operator) std::this_thread::yield();
    needed = run.connection.status().needs_operator;
    run.connection.allow_recovery();
  });
  CHECK(run());
  done = true;
  person.join();
  CHECK(needed);
  CHECK(run.connection.status().recoveries ==
        static_cast<std::uint64_t>(RecoveryLimit{}.reflexes) + 1);
  CHECK_FALSE(run.connection.status().needs_operator);
}

TEST_CASE("a loss is named after what the robot says") {
  CHECK(loss_name(
            {Absence::kReflex, "aborted by reflex! [\"joint_reflex\", \"cartesian_reflex\"]"}) ==
        "joint_reflex and cartesian_reflex");
  CHECK(loss_name({Absence::kReflex, "stopped"}) == "driver_lost_reflex");
  CHECK(loss_name({Absence::kOperator, "pressed [\"by whom\"]"}) == "driver_lost_operator");
}

TEST_CASE("a robot that cannot be had at first is a failure with its sentence") {
  Run run({});
  run.robot.refusal = {Absence::kUnusable, "the robot speaks version 3, this program 10"};
  CHECK_FALSE(run());
  CHECK(run.connection.failure() == run.robot.refusal.what);
  CHECK(run.begun == 0);
  CHECK(run.robot.stops == 1);
}
