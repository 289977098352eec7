#include "app/config_cell.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace serl_rt {
namespace {

SceneRandomisation read_randomisation(ConfigTable table) {
  SceneRandomisation random;
  random.light_strength = table.number("light_strength", 0.0, 1.0, 0.0);
  random.light_angle = table.number("light_angle", 0.0, 1.0, 0.0);
  random.camera_position = table.number("camera_position", 0.0, 0.1, 0.0);
  random.camera_angle = table.number("camera_angle", 0.0, 0.5, 0.0);
  const auto materials = [&table](const std::string& key) {
    std::vector<SceneRandomisation::Colour> result;
    for (ConfigTable entry : table.tables(key)) {
      result.push_back({entry.text("material"), entry.number("range", 0.0, 1.0)});
      entry.finish();
    }
    return result;
  };
  random.colours = materials("colours");
  random.textures = materials("textures");
  table.finish();
  return random;
}

std::optional<Quat> read_orientation(ConfigTable& table, const std::string& key) {
  if (!table.has(key)) return std::nullopt;
  const Quat quaternion(Eigen::Vector4d(table.numbers(key, 4, -1.0, 1.0).data()));  // xyzw
  if (std::abs(quaternion.norm() - 1.0) > 1e-3) {
    throw Error(key + " is not a unit quaternion [x, y, z, w]: its length is " +
                std::to_string(quaternion.norm()));
  }
  return quaternion.normalized();
}

RobotLoad read_load(ConfigTable table) {
  RobotLoad load;
  load.mass = table.number("mass", 0.0, kMaxLoadMass);
  load.centre = table.vector<3>("centre", -kMaxLoadCentre, kMaxLoadCentre);
  const auto inertia =
      table.numbers("inertia", 9, -kMaxLoadInertia, kMaxLoadInertia, std::vector<double>(9, 0.0));
  std::copy(inertia.begin(), inertia.end(), load.inertia.begin());
  if (const std::string problem = load_problem(load); !problem.empty()) {
    table.fail("inertia", problem);
  }
  table.finish();
  return load;
}

Pose read_end_effector(ConfigTable table) {
  Pose pose;
  pose.position = table.vector<3>("position", -1.0, 1.0, pose.position);
  pose.orientation = read_orientation(table, "orientation").value_or(Quat::Identity());
  table.finish();
  return pose;
}

}  // namespace

void read_sim(ConfigTable table, SimTaskConfig& sim) {
  sim.task = table.text("task", {"reach", "pick_cube", "peg_insert", ""}, "");
  sim.model = table.text("model", {}, sim.task.empty() ? "reach.xml" : sim.task + ".xml");
  const auto pair = [&table](const std::string& key, const std::array<double, 2>& fallback) {
    const auto values =
        table.numbers(key, 2, -2.0, 2.0, std::vector<double>(fallback.begin(), fallback.end()));
    return std::array<double, 2>{values[0], values[1]};
  };
  if (sim.task == "pick_cube") {
    sim.cube_low = pair("cube_low", sim.cube_low);
    sim.cube_high = pair("cube_high", sim.cube_high);
    sim.lift_height = table.number("lift_height", 0.01, 1.0, sim.lift_height);
  } else if (sim.task == "peg_insert") {
    sim.hole_low = pair("hole_low", sim.hole_low);
    sim.hole_high = pair("hole_high", sim.hole_high);
    sim.insertion_depth = table.number("insertion_depth", 0.001, 0.04, sim.insertion_depth);
  } else if (sim.task == "reach") {
    sim.goal_low = table.vector<3>("goal_low", -2.0, 2.0, sim.goal_low);
    sim.goal_high = table.vector<3>("goal_high", -2.0, 2.0, sim.goal_high);
    sim.goal_tolerance = table.number("goal_tolerance", 0.001, 0.5, sim.goal_tolerance);
  }
  sim.camera_rate_hz = table.number("camera_rate_hz", 1.0, 240.0, sim.camera_rate_hz);
  sim.randomisation = read_randomisation(table.table("randomisation"));
  table.finish();
}

PoseTaskConfig read_pose_reward(ConfigTable table, bool sparse) {
  PoseTaskConfig goal;
  goal.sparse_reward = sparse;
  goal.position = table.vector<3>("position", -2.0, 2.0);
  goal.orientation = read_orientation(table, "orientation");
  goal.position_tolerance =
      table.vector<3>("position_tolerance", 1e-4, 1.0, goal.position_tolerance);
  goal.rotation_tolerance =
      table.vector<3>("rotation_tolerance", 1e-3, 4.0, goal.rotation_tolerance);
  table.finish();
  return goal;
}

void read_robot(ConfigTable table, RobotConfig& robot, RecoveryLimit& recovery) {
  constexpr double kLargest = 1000.0;  // effectively never
  robot.ip = table.text("ip", {}, "");
  const auto joints = [&table](const std::string& key, Vec7& value) {
    value = table.vector<7>(key, 1.0, kLargest, value);
  };
  const auto axes = [&table](const std::string& key, Vec6& value) {
    value = table.vector<6>(key, 1.0, kLargest, value);
  };
  joints("contact_torque", robot.contact_torque);
  joints("collision_torque", robot.collision_torque);
  axes("contact_force", robot.contact_force);
  axes("collision_force", robot.collision_force);
  if (table.has("load")) robot.load = read_load(table.table("load"));
  if (table.has("end_effector")) robot.ee = read_end_effector(table.table("end_effector"));
  recovery.reflexes = table.integer("max_reflexes", 0, 1000, recovery.reflexes);
  recovery.window_s = table.number("reflex_window_s", 1.0, 3600.0, recovery.window_s);
  table.finish();
}

GripperConfig read_gripper(ConfigTable table) {
  GripperConfig gripper;
  gripper.kind = table.text("kind", kGripperKinds, "");
  gripper.address = table.text("address", {}, "");
  gripper.speed = table.number("speed", 0.001, 1.0, gripper.speed);
  gripper.force = table.number("force", 1.0, 300.0, gripper.force);
  gripper.max_width = table.number("max_width", 0.0, 0.5, gripper.max_width);
  gripper.grasp_below = table.number("grasp_below", 0.0, 1.0, gripper.grasp_below);
  gripper.activate = table.boolean("activate", gripper.activate);
  gripper.convention = table.text("convention", kGripperConventions, "hil-serl");
  gripper.unit = table.integer("unit", -1, 247, gripper.unit);
  table.finish();
  return gripper;
}

}  // namespace serl_rt
