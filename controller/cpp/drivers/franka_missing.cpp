// Stands in for franka_driver.cpp where libfranka was not found when this was built.
#include "core/error.hpp"
#include "drivers/franka_driver.hpp"

namespace serl_rt {

std::unique_ptr<RobotDriver> make_franka_driver(const RobotConfig&) {
  throw Error(
      "this build has no native Franka driver, because libfranka was not found when it was built: "
      "use --driver pylibfranka, or install libfranka and build again with -DFranka_DIR=...");
}

}  // namespace serl_rt
