#include "app/gripper_commands.hpp"

#include <string>

namespace serl_rt {
namespace {

constexpr double kWidest = 0.5;     // [m] the gripper checks its own limit
constexpr double kFastest = 1.0;    // [m/s] the gripper goes as fast as it can
constexpr double kForcest = 500.0;  // [N] the same

Parameter width() { return Parameter::number("width", 0.0, kWidest); }
Parameter speed() { return Parameter::number("speed", 1e-4, kFastest).or_none(); }
Parameter force() { return Parameter::number("force", 0.1, kForcest).or_none(); }

CommandSpec request(Gripper& gripper, GripperCommand::Kind kind, const char* name,
                    const char* summary, std::vector<Parameter> parameters,
                    const std::function<void()>& allow) {
  return {name, summary, std::move(parameters),
          [&gripper, kind, allow](const Arguments& arguments) {
            if (kind != GripperCommand::Kind::kStop) allow();
            GripperCommand command;
            command.kind = kind;
            if (arguments.has("width")) command.width = arguments.number("width");
            if (arguments.has("speed")) command.speed = arguments.number("speed");
            if (arguments.has("force")) command.force = arguments.number("force");
            return Value(gripper.request(command));
          }};
}

Value state(const Gripper& gripper) {
  const GripperStatus status = gripper.status();
  return Value::Map{{"width", status.width},
                    {"opening", status.opening},
                    {"max_width", gripper.max_width()},
                    {"connected", status.connected},
                    {"moving", status.moving},
                    {"grasped", status.grasped},
                    {"done", status.done},
                    {"failure", clean_text(status.failure)}};
}

}  // namespace

std::vector<CommandSpec> gripper_commands(Gripper& gripper, const std::function<void()>& allow) {
  using Kind = GripperCommand::Kind;
  return {
      request(gripper, Kind::kMove, "gripper_move",
              "move the fingers to a distance from each other [m]; returns the command's number",
              {width(), speed(), force()}, allow),
      request(gripper, Kind::kGrasp, "gripper_grasp",
              "close until something is held; returns the command's number",
              {width().or_none(), speed(), force()}, allow),
      request(gripper, Kind::kStop, "gripper_stop", "stop the fingers where they are", {}, allow),
      request(gripper, Kind::kActivate, "gripper_activate",
              "make the gripper ready (Robotiq: activate, Franka hand: homing); the fingers move",
              {}, allow),
      {"gripper_state",
       "what the gripper reports; `done`: number of the newest command that has ended",
       {},
       [&gripper](const Arguments&) { return state(gripper); }},
  };
}

}  // namespace serl_rt
