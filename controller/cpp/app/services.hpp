// What other programs on the robot PC see of the controller: its state, published at least at the
// policy rate whatever the policy does, and commands.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "app/config.hpp"
#include "app/flight_recorder.hpp"
#include "app/policy_loop.hpp"
#include "app/robot_commands.hpp"
#include "app/robot_connection.hpp"
#include "core/control_loop.hpp"
#include "core/controller.hpp"
#include "link/command_server.hpp"
#include "link/state_publisher.hpp"
#include "policy/policy_manager.hpp"

namespace serl_rt {

struct ServicesConfig {
  std::string state_address;    // "none": not published
  std::string command_address;  // "none": no commands
};

class Services {
 public:
  // Everything else must outlive this; `recorder` may be null. Throws Error when an address cannot
  // be bound.
  Services(std::shared_ptr<Messaging> messaging, const ServicesConfig& config,
           const TaskConfig& task, Gripper& gripper, Controller& controller, ControlLoop& loop,
           RobotConnection& connection, PolicyManager& policies, PolicyLoop& policy_loop,
           FlightRecorder* recorder, std::atomic<bool>& halted);

  // Brakes, holds, and pauses the policy until a person says `resume` or `recover`. Any thread.
  void halt(const std::string& cause);

 private:
  std::vector<CommandSpec> commands();
  CommandSpec record();
  Value status() const;
  State newest() const;
  void watch(const std::stop_token& stop);
  void publish(const State& state);
  void release();  // a person says that the arm may move again

  Gripper& gripper_;
  Controller& controller_;
  ControlLoop& loop_;
  RobotConnection& connection_;
  PolicyManager& policies_;
  PolicyLoop& policy_loop_;
  FlightRecorder* recorder_;   // null: none
  std::atomic<bool>& halted_;  // set by stop, cleared by resume
  RobotCommands robot_commands_;
  std::chrono::nanoseconds period_{};
  mutable std::mutex mutex_;  // state_
  State state_;
  std::optional<StatePublisher> publisher_;
  std::jthread watcher_;                 // uses what is above
  std::optional<CommandServer> server_;  // last: its threads use the others
};

}  // namespace serl_rt
