// What a person's program may ask of the arm while no policy moves it: motions, streamed targets,
// gains, the gripper; and of a policy that does: stop, and somebody else's action in place of its
// own. A Python `Robot` is these commands.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "app/config.hpp"
#include "core/controller.hpp"
#include "drivers/driver.hpp"
#include "link/command.hpp"
#include "link/operator_wire.hpp"

namespace serl_rt {

// What everybody may know about the controller after a tick: mode, who is in charge, faults, what
// became of the targets. Any thread.
Value::Map controller_report(const Controller& controller);

// Name -> count, of those that have happened.
Value::Map fault_counts(const FaultCounters& counters);

// What the commands need of whoever runs the policy.
struct PolicyHooks {
  std::function<void()> halt;     // stop the arm, and the policy's episode
  std::function<void()> release;  // a person says that the arm may move again
  // A person's action for the next steps, valid that long [s]. Throws Error.
  std::function<void(std::span<const double>, double)> intervene;
};

// Belongs to the command server's thread, but that stop's command may run on any.
class RobotCommands {
 public:
  // Everything must outlive this. `state`: the newest one.
  RobotCommands(const TaskConfig& task, Controller& controller, Gripper& gripper,
                std::function<State()> state, PolicyHooks policy);

  std::vector<CommandSpec> commands();
  void follow(const wire::StreamTarget& target);

 private:
  CommandSpec describe();
  CommandSpec stop();
  CommandSpec hold();
  CommandSpec recover();
  CommandSpec guide();
  CommandSpec move_joints();
  CommandSpec joint_reset();
  CommandSpec set_gains();
  CommandSpec gains();

  void require_charge() const;
  Value move(const Vec7& q, double duration_s);
  std::uint64_t send(Target target);

  const TaskConfig& task_;
  Controller& controller_;
  Gripper& gripper_;
  std::function<State()> state_;
  PolicyHooks policy_;
  CartesianGains gains_;  // last set
  std::uint64_t sequence_ = 0;
};

}  // namespace serl_rt
