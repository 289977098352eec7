// The simulated arm in lockstep for an operator's program: the commands of a running controller,
// but time passes only when it is told to.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "app/config.hpp"
#include "app/robot_commands.hpp"
#include "core/control_loop.hpp"
#include "drivers/sim_driver.hpp"

namespace serl_rt {

// One thread at a time.
class SimRobot {
 public:
  // Throws Error when the task's model cannot be used.
  SimRobot(const TaskConfig& task, const std::filesystem::path& assets_dir);
  SimRobot(const SimRobot&) = delete;
  SimRobot& operator=(const SimRobot&) = delete;

  // As the command socket does. Throws Error: unknown, refused, arguments.
  Value command(const std::string& name, const Value::Map& arguments);
  void follow(const wire::StreamTarget& target) { commands_.follow(target); }

  // Lets that many ticks [ms] pass. Throws Error when the simulation has diverged.
  void advance(int ticks);

  const State& state() const noexcept { return loop_.state(); }
  Pose reference() const noexcept;
  double gripper_opening() const noexcept { return gripper_.opening(); }
  Value::Map report() const;

 private:
  const TaskConfig task_;
  SimDriver driver_;
  SimGripper gripper_;
  Controller controller_;
  ControlLoop loop_;
  bool halted_ = false;
  RobotCommands commands_;
  std::vector<CommandSpec> specs_;
};

}  // namespace serl_rt
