// What other programs on the robot PC see of the controller: its state, published at the policy
// rate, and a few commands.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/flight_recorder.hpp"
#include "app/policy_loop.hpp"
#include "core/control_loop.hpp"
#include "core/controller.hpp"
#include "link/command_server.hpp"
#include "link/state_publisher.hpp"
#include "policy/control_port.hpp"
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
  Services(std::shared_ptr<Messaging> messaging, const ServicesConfig& config, ControlPort& port,
           Controller& controller, ControlLoop& loop, PolicyManager& policies,
           PolicyLoop& policy_loop, FlightRecorder* recorder, std::atomic<bool>& halted);

  // Policy thread, after each step.
  void publish_state();

 private:
  std::vector<CommandSpec> commands();
  CommandSpec set_gains();
  CommandSpec record();
  Value status() const;

  ControlPort& port_;
  Controller& controller_;
  ControlLoop& loop_;
  PolicyManager& policies_;
  PolicyLoop& policy_loop_;
  FlightRecorder* recorder_;   // null: none
  std::atomic<bool>& halted_;  // set by stop, cleared by resume
  CartesianGains gains_;       // last set; command thread
  std::optional<StatePublisher> publisher_;
  std::optional<CommandServer> server_;  // last: its thread uses the others
};

}  // namespace serl_rt
