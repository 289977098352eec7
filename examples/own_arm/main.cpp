// serl-rt-controller with one more driver: own_arm --driver own_arm --task own_arm.toml --manual
#include <memory>
#include <string>
#include <vector>

#include "app/data_files.hpp"
#include "app/run_controller.hpp"
#include "own_arm_driver.hpp"

int main(int argc, char** argv) {
  serl_rt::Options defaults = serl_rt::find_data_files();
  defaults.drivers["own_arm"] = [](const serl_rt::RobotConfig& config) {
    return std::make_unique<own_arm::OwnArmDriver>(config);
  };
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return serl_rt::run_controller(arguments, defaults);
}
