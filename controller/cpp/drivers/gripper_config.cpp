#include "drivers/gripper_config.hpp"

#include "core/error.hpp"
#include "drivers/franka_hand.hpp"
#include "drivers/gripper_worker.hpp"
#include "drivers/robotiq.hpp"

namespace serl_rt {

std::unique_ptr<Gripper> make_gripper(const GripperConfig& config, const std::string& robot_host) {
  if (config.kind.empty() || config.kind == "none") return std::make_unique<NoGripper>();
  GripperWorkerConfig worker;
  if (config.kind == "robotiq") {
    worker.max_width = config.max_width > 0.0 ? config.max_width : kRobotiqMaxWidth;
    worker.activate = config.activate;
    return std::make_unique<GripperWorker>(make_robotiq(config), worker);
  }
  if (config.kind == "franka") {
    const std::string& host = config.address.empty() ? robot_host : config.address;
    if (host.empty()) throw Error("gripper kind 'franka' needs the robot's address");
    worker.max_width = kFrankaHandMaxWidth;
    worker.grasp_below = config.grasp_below;
    return std::make_unique<GripperWorker>(make_franka_hand(config, host), worker);
  }
  throw Error("gripper kind '" + config.kind + "' needs the simulated arm");
}

}  // namespace serl_rt
