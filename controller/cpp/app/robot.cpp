#include "app/robot.hpp"

#include <utility>

#include "app/cameras.hpp"
#include "core/error.hpp"
#include "drivers/franka_driver.hpp"
#include "drivers/pose_task.hpp"
#include "drivers/sim_tasks.hpp"

namespace serl_rt {
namespace {

Robot make_simulated(const Options& options, const TaskConfig& task) {
  auto driver = std::make_unique<SimDriver>(SimDriverConfig{
      options.assets_dir / task.sim.model, options.lockstep ? Pacing::kLockstep : Pacing::kRealtime,
      task.episode.reset_q});
  std::unique_ptr<Gripper> gripper;
  if (task.gripper.kind == "sim") {
    gripper = std::make_unique<SimGripper>(*driver);
  } else {
    gripper = make_gripper(task.gripper, task.robot.ip);
  }
  std::unique_ptr<Cameras> cameras;
  if (options.cameras.empty()) {
    cameras = make_sim_cameras(task, options.assets_dir, *driver,
                               options.lockstep ? Pacing::kLockstep : Pacing::kRealtime);
  }
  auto episode_task = make_episode_task(task, driver.get());
  return {std::move(driver), std::move(gripper), std::move(cameras), std::move(episode_task)};
}

RobotConfig robot_config(const Options& options, const TaskConfig& task) {
  RobotConfig config = task.robot;
  if (!options.robot_ip.empty()) config.ip = options.robot_ip;
  if (config.ip.empty()) {
    throw Error("--driver " + options.driver + " needs the robot's address: give --robot-ip, or " +
                "ip in [robot] of " + task.file.string());
  }
  return config;
}

DriverFactory find_driver(const Options& options) {
  if (options.driver == "franka") return make_franka_driver;
  const auto found = options.drivers.find(options.driver);
  if (found != options.drivers.end()) return found->second;
  std::string known = "sim, franka";
  for (const auto& [name, factory] : options.drivers) known += ", " + name;
  throw Error("--driver " + options.driver + " is not one of " + known +
              " (serl-rt control also knows module:Class, a Python driver)");
}

}  // namespace

GripperConfig chosen_gripper(const Options& options, const TaskConfig& task) {
  GripperConfig config = task.gripper;
  if (!options.gripper.empty() && options.gripper != config.kind) {
    config = {};
    config.kind = options.gripper;
    config.convention = task.gripper.convention;  // the environments are the same
  }
  if (!options.gripper_address.empty()) {
    if (config.kind != "franka" && config.kind != "robotiq") {
      throw Error("--gripper-address is for --gripper franka or robotiq");
    }
    config.address = options.gripper_address;
  }
  if (config.kind == "robotiq" && config.address.empty()) {
    throw Error(
        "a Robotiq gripper needs its address, tcp://HOST or rtu:DEVICE: give --gripper-address "
        "(in Python gripper_address=...), or address in [gripper] of " +
        task.file.string());
  }
  if (config.kind.empty()) config.kind = options.driver == "sim" ? "sim" : "none";
  return config;
}

Robot make_robot(const Options& options, const TaskConfig& task) {
  if (options.driver == "sim") return make_simulated(options, task);
  if (options.lockstep)
    throw Error("--lockstep is for --driver sim: a real arm keeps its own time");
  if (!task.contract.images.empty() && options.cameras.empty()) {
    throw Error(task.file.string() +
                ": the contract has images: give --cameras, and start serl-rt cameras");
  }
  const DriverFactory make_driver = find_driver(options);
  const RobotConfig config = robot_config(options, task);
  return {make_driver(config), make_gripper(task.gripper, config.ip), nullptr,
          make_episode_task(task, nullptr)};
}

std::unique_ptr<RewardClassifier> make_reward_classifier(const TaskConfig& task) {
  if (!task.reward_classifier) return nullptr;
  return std::make_unique<RewardClassifier>(*task.reward_classifier, task.contract);
}

std::unique_ptr<Task> make_episode_task(const TaskConfig& task, SimDriver* sim) {
  if (task.pose_reward) {
    if (sim == nullptr) return make_pose_task(*task.pose_reward);
    return make_pose_task(*task.pose_reward, [sim] { sim->return_to_start(); });
  }
  if (sim != nullptr && !task.sim.task.empty()) return make_sim_task(task.sim, *sim);
  if (sim == nullptr && !task.sim.task.empty() && !task.reward_classifier) {
    throw Error(task.file.string() + ": sim.task = \"" + task.sim.task +
                "\" has simulated objects: on a real arm use a task with [pose_reward], or a "
                "reward classifier");
  }
  return nullptr;
}

}  // namespace serl_rt
