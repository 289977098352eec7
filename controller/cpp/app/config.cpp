#include "app/config.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "app/config_table.hpp"
#include "core/error.hpp"

namespace serl_rt {
namespace {

constexpr double kPi = 3.14159265358979323846;

template <int N>
Eigen::Matrix<double, N, 1> to_vector(const std::vector<double>& values) {
  return Eigen::Map<const Eigen::Matrix<double, N, 1>>(values.data());
}

template <typename Vector>
std::vector<double> to_list(const Vector& vector) {
  return {vector.data(), vector.data() + vector.size()};
}

EpisodeConfig read_episode(ConfigTable table, ConfigTable reset, const std::string& reward,
                           SimTaskConfig& sim) {
  EpisodeConfig episode;
  episode.max_steps = table.integer("max_steps", 1, 1'000'000, 100);
  if (!reward.empty() && reward != "dense" && reward != "sparse") {
    throw Error("reward '" + reward + "' is not one of dense, sparse");
  }
  const std::string file_reward = table.text("reward", {"dense", "sparse"}, "sparse");
  sim.sparse_reward = (reward.empty() ? file_reward : reward) == "sparse";
  // With a sparse reward nothing is left to gain after success.
  episode.terminate_on_success = table.boolean("terminate_on_success", false) || sim.sparse_reward;
  table.finish();
  episode.reset_q = to_vector<7>(reset.numbers("q", 7, -2.0 * kPi, 2.0 * kPi));
  episode.reset_duration_s = reset.number("duration_s", 0.1, 60.0, 3.0);
  episode.reset_gripper = reset.number("gripper", 0.0, 1.0, episode.reset_gripper);
  reset.finish();
  return episode;
}

CartesianGains read_gains(ConfigTable table) {
  CartesianGains gains;
  for (const GainField& field : kGainFields) {
    const std::string key(field.name);
    if (field.scalar != nullptr) {
      gains.*field.scalar = table.number(key, field.low, field.high, gains.*field.scalar);
    } else {
      gains.*field.axes =
          to_vector<3>(table.numbers(key, 3, field.low, field.high, to_list(gains.*field.axes)));
    }
  }
  table.finish();
  return gains;
}

JointGains read_joint_gains(ConfigTable table) {
  JointGains gains;
  gains.stiffness =
      to_vector<7>(table.numbers("stiffness", 7, 0.0, 2000.0, to_list(gains.stiffness)));
  gains.damping = to_vector<7>(table.numbers("damping", 7, 0.0, 200.0, to_list(gains.damping)));
  gains.clip = table.number("clip", 0.0, 1.0, gains.clip);
  table.finish();
  return gains;
}

void read_control(ConfigTable table, ControllerConfig& config, double period_s) {
  using Kind = TargetFilterConfig::Kind;
  const std::string kind = table.text("filter", {"first_order", "linear", "min_jerk"}, "linear");
  config.filter.kind = kind == "first_order" ? Kind::kFirstOrder
                       : kind == "linear"    ? Kind::kLinear
                                             : Kind::kMinJerk;
  config.filter.time_constant_s =
      table.number("filter_time_constant_s", 0.0, 10.0, config.filter.time_constant_s);
  config.filter.duration_s = table.number("filter_duration_s", 0.001, 10.0, period_s);
  config.gains_time_constant_s =
      table.number("gains_time_constant_s", 0.0, 10.0, config.gains_time_constant_s);
  config.speed.linear = table.number("max_linear_speed", 0.001, 3.0, config.speed.linear);
  config.speed.angular = table.number("max_angular_speed", 0.001, 2.5, config.speed.angular);
  config.speed.joint_fraction =
      table.number("max_joint_speed_fraction", 0.01, 1.0, config.speed.joint_fraction);
  if (table.has("nullspace_posture")) {
    config.nullspace_posture =
        to_vector<7>(table.numbers("nullspace_posture", 7, -2.0 * kPi, 2.0 * kPi));
  }
  table.finish();
}

// Of an arm that is neither of Franka's: the task file says all of them.
RobotLimits read_other_limits(ConfigTable& table) {
  const auto joints = [&table](const std::string& key, double low, double high) {
    return to_vector<7>(table.numbers(key, 7, low, high));
  };
  RobotLimits limits;
  limits.q_min = joints("q_min", -2.0 * kPi, 2.0 * kPi);
  limits.q_max = joints("q_max", -2.0 * kPi, 2.0 * kPi);
  limits.dq_max = joints("dq_max", 0.01, 20.0);
  limits.ddq_max = joints("ddq_max", 0.1, 200.0);
  limits.deceleration = joints("deceleration", 0.1, 200.0);
  limits.tau_max = joints("tau_max", 0.1, 500.0);
  limits.tau_step = kTickSeconds * table.number("tau_rate", 10.0, 1000.0);
  return limits;
}

RobotLimits read_robot_limits(ConfigTable& table) {
  const std::string robot = table.text("robot", {"fr3", "panda", "other"}, "fr3");
  if (robot == "fr3") return fr3_limits();
  return robot == "panda" ? panda_limits() : read_other_limits(table);
}

void read_limits(ConfigTable table, ControllerConfig& config) {
  config.limits = read_robot_limits(table);
  config.wall.zone = table.number("joint_wall_zone", 0.0, 0.5, config.wall.zone);
  config.stop.position_margin =
      table.number("joint_stop_margin", 0.0, 0.5, config.stop.position_margin);
  config.stop.velocity_fraction =
      table.number("joint_velocity_fraction", 0.1, 1.0, config.stop.velocity_fraction);
  table.finish();
}

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
    sim.goal_low = to_vector<3>(table.numbers("goal_low", 3, -2.0, 2.0, to_list(sim.goal_low)));
    sim.goal_high = to_vector<3>(table.numbers("goal_high", 3, -2.0, 2.0, to_list(sim.goal_high)));
    sim.goal_tolerance = table.number("goal_tolerance", 0.001, 0.5, sim.goal_tolerance);
  }
  sim.camera_rate_hz = table.number("camera_rate_hz", 1.0, 240.0, sim.camera_rate_hz);
  sim.randomisation = read_randomisation(table.table("randomisation"));
  table.finish();
}

void read_wrench(ConfigTable table, WrenchConfig& wrench) {
  wrench.cap.head<3>() =
      to_vector<3>(table.numbers("max_force", 3, 0.0, 60.0, to_list(Vec3(wrench.cap.head<3>()))));
  wrench.cap.tail<3>() =
      to_vector<3>(table.numbers("max_torque", 3, 0.0, 15.0, to_list(Vec3(wrench.cap.tail<3>()))));
  wrench.max_rotation =
      to_vector<3>(table.numbers("max_rotation", 3, 0.01, 2.5, to_list(wrench.max_rotation)));
  wrench.translational_damping =
      table.number("translational_damping", 20.0, 400.0, wrench.translational_damping);
  wrench.rotational_damping =
      table.number("rotational_damping", 2.0, 30.0, wrench.rotational_damping);
  table.finish();
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

PoseTaskConfig read_pose_reward(ConfigTable table, bool sparse) {
  PoseTaskConfig goal;
  goal.sparse_reward = sparse;
  goal.position = to_vector<3>(table.numbers("position", 3, -2.0, 2.0));
  goal.orientation = read_orientation(table, "orientation");
  goal.position_tolerance = to_vector<3>(
      table.numbers("position_tolerance", 3, 1e-4, 1.0, to_list(goal.position_tolerance)));
  goal.rotation_tolerance = to_vector<3>(
      table.numbers("rotation_tolerance", 3, 1e-3, 4.0, to_list(goal.rotation_tolerance)));
  table.finish();
  return goal;
}

RobotLoad read_load(ConfigTable table) {
  RobotLoad load;
  load.mass = table.number("mass", 0.0, kMaxLoadMass);
  load.centre = to_vector<3>(table.numbers("centre", 3, -kMaxLoadCentre, kMaxLoadCentre));
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
  pose.position = to_vector<3>(table.numbers("position", 3, -1.0, 1.0, to_list(pose.position)));
  pose.orientation = read_orientation(table, "orientation").value_or(Quat::Identity());
  table.finish();
  return pose;
}

void read_robot(ConfigTable table, RobotConfig& robot, RecoveryLimit& recovery) {
  constexpr double kLargest = 1000.0;  // effectively never
  robot.ip = table.text("ip", {}, "");
  const auto joints = [&table](const std::string& key, Vec7& value) {
    value = to_vector<7>(table.numbers(key, 7, 1.0, kLargest, to_list(value)));
  };
  const auto axes = [&table](const std::string& key, Vec6& value) {
    value = to_vector<6>(table.numbers(key, 6, 1.0, kLargest, to_list(value)));
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

std::vector<std::string> bundled_tasks(const std::filesystem::path& tasks_dir) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(tasks_dir, ignored)) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::filesystem::path find_task(const std::string& name_or_path,
                                const std::filesystem::path& tasks_dir) {
  const bool is_path = name_or_path.find('/') != std::string::npos ||
                       std::filesystem::path(name_or_path).extension() == ".toml";
  if (is_path) return name_or_path;
  std::string known;
  for (const std::string& name : bundled_tasks(tasks_dir)) {
    if (name == name_or_path) return tasks_dir / (name + ".toml");
    known += (known.empty() ? "" : ", ") + name;
  }
  throw Error("unknown task '" + name_or_path +
              "': give the path of a .toml file, or one of the bundled tasks: " +
              (known.empty() ? "none in " + tasks_dir.string() : known));
}

TaskConfig load_task_config(const std::filesystem::path& file, const std::string& reward) {
  ConfigTable root = ConfigTable::from_file(file);
  TaskConfig task;
  task.file = file;
  task.name = root.text("name");
  try {
    task.contract = contract_from_json(root.table("contract").json("name", task.name));
  } catch (const Error& error) {
    throw Error(file.string() + ": contract: " + error.what());
  }
  task.episode = read_episode(root.table("episode"), root.table("reset"), reward, task.sim);
  task.controller.gains = read_gains(root.table("impedance"));
  task.controller.joint_gains = read_joint_gains(root.table("joint_impedance"));
  read_control(root.table("control"), task.controller, 1.0 / task.contract.policy_rate_hz);
  read_limits(root.table("limits"), task.controller);
  ConfigTable cameras = root.table("cameras");
  task.episode.max_image_age_s =
      cameras.number("max_age_s", 0.001, 10.0, task.episode.max_image_age_s);
  // Which device gives which image: for serl-rt cameras, which checks it.
  for (ConfigTable source : cameras.tables("sources")) source.json("", "");
  cameras.finish();
  read_wrench(root.table("wrench"), task.controller.wrench);
  root.table("franka_env");  // Python's
  read_sim(root.table("sim"), task.sim);
  if (root.has("pose_reward")) {
    task.pose_reward = read_pose_reward(root.table("pose_reward"), task.sim.sparse_reward);
  }
  read_robot(root.table("robot"), task.robot, task.recovery);
  task.gripper = read_gripper(root.table("gripper"));
  root.finish();

  task.controller.workspace.low = to_vector<3>(task.contract.workspace_low);
  task.controller.workspace.high = to_vector<3>(task.contract.workspace_high);
  for (const std::string& problem : {validate(task.controller), validate(task.sim)}) {
    if (!problem.empty()) throw Error(file.string() + ": " + problem);
  }
  return task;
}

}  // namespace serl_rt
