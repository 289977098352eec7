#include "drivers/franka_trouble.hpp"

namespace serl_rt {
namespace {

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

Trouble franka_failure(std::string_view exception, const std::string& text, const std::string& ip) {
  if (exception == "ControlException") {
    if (has(text, "reflex") || has(text, "[\"")) return {Absence::kReflex, text};
    if (has(text, "ser Stop")) {
      return {Absence::kOperator, "the user stop is pressed: release it (" + text + ")"};
    }
    if (has(text, "not possible in the current mode")) {
      return {Absence::kOperator,
              "another program or Desk controls the robot at " + ip + ": end it (" + text + ")"};
    }
    return {Absence::kReflex, text};
  }
  if (exception == "NetworkException") {
    return {Absence::kNetwork, "no answer from the robot at " + ip +
                                   ": is it on and reachable, is FCI activated in "
                                   "Desk, and does no other program control it? (" +
                                   text + ")"};
  }
  if (exception == "ProtocolException") return {Absence::kNetwork, text};
  if (exception == "IncompatibleVersionException") {
    return {Absence::kUnusable,
            text + ": FR3 needs libfranka 0.18 or newer (or pylibfranka), Panda needs 0.9.x"};
  }
  if (exception == "CommandException") {
    return {Absence::kOperator,
            "the robot refused its set-up or the start of control: are the joints unlocked, the "
            "user stop released, and no other program in control? (" +
                text + ")"};
  }
  return {Absence::kUnusable, text};
}

Trouble franka_mode(std::string_view mode) {
  if (mode == "Idle") return {};
  if (mode == "Reflex") return {Absence::kReflex, "the robot has a reflex to recover from"};
  if (mode == "UserStopped") {
    return {Absence::kOperator, "the user stop is pressed: release it"};
  }
  if (mode == "Guiding") {
    return {Absence::kOperator, "somebody guides the robot by hand: let go of its buttons"};
  }
  if (mode == "Move" || mode == "AutomaticErrorRecovery") {
    return {Absence::kOperator, "another program moves the robot: end it"};
  }
  return {Absence::kOperator,
          "the robot is not ready: unlock the joints (brakes) and activate FCI in Desk"};
}

}  // namespace serl_rt
