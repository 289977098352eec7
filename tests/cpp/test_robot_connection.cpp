#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "app/load_command.hpp"
#include "app/robot_connection.hpp"
#include "arm_model.hpp"
#include "core/error.hpp"

using namespace serl_rt;

namespace {

// A robot that gets lost in a given way, and comes back when start() has failed often enough.
class Robot final : public RobotDriver {
 public:
  explicit Robot(std::vector<Trouble> losses) : losses_(std::move(losses)) {}

  Trouble start() override {
    ++starts;
    if (load && load->mass == kRefusedMass) return {Absence::kOperator, "too heavy"};
    if (failures_left_ > 0) {
      --failures_left_;
      return trouble_;
    }
    return refusal;
  }
  bool read(State& state) noexcept override {
    if (++reads_ == ask_at) asked = asks->change_load(wanted);
    if (reads_ % kTicksEach != 0) return arm_.read(state);
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
  std::string set_load(const std::optional<RobotLoad>& now) override {
    if (!takes_loads) return RobotDriver::set_load(now);
    load = now;
    return {};
  }

  static constexpr int kTicksEach = 20;
  Trouble refusal;  // of every start()
  int fails_after_loss = 0;
  int starts = 0;
  int stops = 0;
  static constexpr double kRefusedMass = 9.0;
  bool takes_loads = true;
  std::optional<RobotLoad> load;
  RobotLoad wanted;                      // asked for at this read:
  int ask_at = 0;                        // 0: never
  RobotConnection* asks = nullptr;       // of whom
  std::uint64_t asked = 0;               // its answer
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

namespace {

// A run in which a load of this mass is asked for between two ticks.
struct LoadRun : Run {
  explicit LoadRun(double mass, std::vector<Trouble> troubles = {}) : Run(std::move(troubles)) {
    robot.asks = &connection;
    robot.ask_at = 10;
    robot.wanted.mass = mass;
  }
};

}  // namespace

TEST_CASE("another load is a planned restart: nothing is lost, the arm is stopped where it is") {
  LoadRun run(0.5);
  const Vec7 q = test::kHome;
  CHECK(run());
  const RobotStatus status = run.connection.status();
  CHECK(run.robot.asked == 1);
  CHECK(status.load.done == 1);
  CHECK(status.load.failure.empty());
  REQUIRE(status.load.load.has_value());
  CHECK(status.load.load->mass == 0.5);
  CHECK(run.robot.load->mass == 0.5);
  CHECK(run.robot.starts == 2);
  CHECK(run.robot.stops == 2);  // the planned one, and the end
  CHECK(run.begun == 2);
  CHECK(status.absences == 0);
  CHECK(status.recoveries == 0);
  CHECK(status.reflexes.empty());
  CHECK(run.losses.empty());
  CHECK(run.controller.faults().count(Fault::kDriverLost) == 0);
  CHECK(run.controller.status().stopped);
  CHECK((run.loop.state().q - q).cwiseAbs().maxCoeff() < 1e-3);
}

TEST_CASE("a load that the robot refuses leaves the one before, and the arm in control") {
  LoadRun run(Robot::kRefusedMass);
  CHECK(run());
  const RobotStatus status = run.connection.status();
  CHECK(status.load.done == 1);
  CHECK(status.load.failure == "too heavy");
  CHECK_FALSE(status.load.load.has_value());
  CHECK_FALSE(run.robot.load.has_value());
  CHECK(run.robot.starts == 3);
  CHECK(status.absences == 0);
}

TEST_CASE("a driver that knows no loads is not restarted for one") {
  LoadRun run(0.5);
  run.robot.takes_loads = false;
  CHECK(run());
  CHECK(run.connection.status().load.failure.find("driver") != std::string::npos);
  CHECK(run.robot.starts == 1);
  CHECK(run.robot.stops == 1);
}

TEST_CASE("a robot that is lost while a load is asked for gets no load later") {
  LoadRun run(0.5, {kNetwork});
  run.robot.ask_at = Robot::kTicksEach;  // the read that fails
  CHECK(run());
  const RobotStatus status = run.connection.status();
  CHECK(status.load.done == 1);
  CHECK(status.load.failure.find(kNetwork.what) != std::string::npos);
  CHECK_FALSE(run.robot.load.has_value());
  CHECK(status.absences == 1);
}

TEST_CASE("no load is taken for an absent robot") {
  Run run({});
  CHECK_THROWS_AS(run.connection.change_load({}), Error);
}

TEST_CASE("an inertia is that of a body") {
  RobotLoad load;
  CHECK(load_problem(load).empty());
  load.inertia = {1e-3, 0, 0, 0, 2e-3, 0, 0, 0, 2e-3};
  CHECK(load_problem(load).find("mass of 0") != std::string::npos);
  load.mass = 0.5;
  CHECK(load_problem(load).empty());
  load.inertia[3] = 1e-4;
  CHECK(load_problem(load).find("symmetric") != std::string::npos);
  load.inertia[1] = 1e-4;
  CHECK(load_problem(load).empty());
  load.inertia[8] = -1e-3;
  CHECK(load_problem(load).find("negative") != std::string::npos);
}
