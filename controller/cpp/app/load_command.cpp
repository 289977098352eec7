#include "app/load_command.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

RobotLoad load_of(const Arguments& arguments) {
  RobotLoad load;
  load.mass = arguments.number("mass_kg");
  load.centre = Vec3(arguments.numbers("F_x_Cload").data());
  std::ranges::copy(arguments.numbers("load_inertia"), load.inertia.begin());
  if (const std::string problem = load_problem(load); !problem.empty()) throw Error(problem);
  return load;
}

void require_idle(const Controller& controller) {
  if (controller.in_charge() != Source::kOperator) {
    throw Error("a policy moves the arm: pause it and wait until its episode is over, or stop it");
  }
  const ControllerStatus status = controller.status();
  if (status.mode == Mode::kJointMove && status.move_done_sequence != status.target_sequence) {
    throw Error("a joint move is going on: wait until it is done, or stop it");
  }
}

}  // namespace

Value load_value(const LoadStatus& status) {
  Value load;
  if (status.load) {
    const RobotLoad& now = *status.load;
    load = Value::Map{{"mass_kg", now.mass},
                      {"F_x_Cload", Value::List(now.centre.begin(), now.centre.end())},
                      {"load_inertia", Value::List(now.inertia.begin(), now.inertia.end())}};
  }
  return Value::Map{{"now", std::move(load)},
                    {"asked", status.asked},
                    {"done", status.done},
                    {"failure", clean_text(status.failure)}};
}

CommandSpec load_command(RobotConnection& connection, const Controller& controller) {
  return {
      "set_load",
      "begin to tell the robot what it carries: the arm brakes, its control begins anew, stopped",
      {Parameter::number("mass_kg", 0.0, kMaxLoadMass),
       Parameter::numbers("F_x_Cload", 3, -kMaxLoadCentre, kMaxLoadCentre),
       Parameter::numbers("load_inertia", 9, -kMaxLoadInertia, kMaxLoadInertia)},
      [&connection, &controller](const Arguments& arguments) -> Value {
        const RobotLoad load = load_of(arguments);
        require_idle(controller);
        return connection.change_load(load);
      }};
}

}  // namespace serl_rt
