// A gripper as the controller has it, for Python tests: commands in on lines, status out as JSON.
//   gripper_host KIND ADDRESS [activate]
// activate | move WIDTH [SPEED [FORCE]] | grasp WIDTH [SPEED [FORCE]] | stop | command OPENING |
// status
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "core/error.hpp"
#include "drivers/gripper_config.hpp"

using namespace serl_rt;

namespace {

nlohmann::json execute(Gripper& gripper, const std::string& line) {
  using Kind = GripperCommand::Kind;
  std::istringstream words(line);
  std::string name;
  words >> name;
  if (name == "status") {
    const GripperStatus status = gripper.status();
    return {{"width", status.width},         {"opening", status.opening},
            {"connected", status.connected}, {"moving", status.moving},
            {"grasped", status.grasped},     {"done", status.done},
            {"failure", status.failure},     {"max_width", gripper.max_width()}};
  }
  std::string word;
  if (name == "command") {
    words >> word;
    gripper.command(std::stod(word));
    return {};
  }
  GripperCommand command;
  command.kind = name == "activate" ? Kind::kActivate
                 : name == "grasp"  ? Kind::kGrasp
                 : name == "stop"   ? Kind::kStop
                                    : Kind::kMove;
  if (words >> word) command.width = std::stod(word);  // "nan", too
  if (words >> word) command.speed = std::stod(word);
  if (words >> word) command.force = std::stod(word);
  return {{"number", gripper.request(command)}};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app;
  GripperConfig config;
  app.add_option("kind", config.kind)->required();
  app.add_option("address", config.address)->required();
  app.add_flag("!--no-activate", config.activate);
  app.add_option("--unit", config.unit);
  CLI11_PARSE(app, argc, argv);
  try {
    const auto gripper = make_gripper(config, "");
    std::string line;
    while (std::getline(std::cin, line)) {
      try {
        std::cout << execute(*gripper, line).dump() << std::endl;
      } catch (const Error& error) {
        std::cout << nlohmann::json{{"error", error.what()}}.dump() << std::endl;
      }
    }
  } catch (const Error& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
  return 0;
}
