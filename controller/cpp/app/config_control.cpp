#include "app/config_control.hpp"

#include <string>

namespace serl_rt {
namespace {

CartesianGains read_gains(ConfigTable table) {
  CartesianGains gains;
  for (const GainField& field : kGainFields) {
    const std::string key(field.name);
    if (field.scalar != nullptr) {
      gains.*field.scalar = table.number(key, field.low, field.high, gains.*field.scalar);
    } else {
      gains.*field.axes = table.vector<3>(key, field.low, field.high, gains.*field.axes);
    }
  }
  table.finish();
  return gains;
}

JointGains read_joint_gains(ConfigTable table) {
  JointGains gains;
  gains.stiffness = table.vector<7>("stiffness", 0.0, 2000.0, gains.stiffness);
  gains.damping = table.vector<7>("damping", 0.0, 200.0, gains.damping);
  gains.clip = table.number("clip", 0.0, 1.0, gains.clip);
  table.finish();
  return gains;
}

void read_filters(ConfigTable table, ControllerConfig& config, double period_s) {
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
    config.nullspace_posture = table.vector<7>("nullspace_posture", -kFullTurn, kFullTurn);
  }
  table.finish();
}

// Of an arm that is neither of Franka's: the task file says all of them.
RobotLimits read_other_limits(ConfigTable& table) {
  const auto joints = [&table](const std::string& key, double low, double high) {
    return table.vector<7>(key, low, high);
  };
  RobotLimits limits;
  limits.q_min = joints("q_min", -kFullTurn, kFullTurn);
  limits.q_max = joints("q_max", -kFullTurn, kFullTurn);
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

void read_wrench(ConfigTable table, WrenchConfig& wrench) {
  wrench.cap.head<3>() = table.vector<3>("max_force", 0.0, 60.0, wrench.cap.head<3>());
  wrench.cap.tail<3>() = table.vector<3>("max_torque", 0.0, 15.0, wrench.cap.tail<3>());
  wrench.max_rotation = table.vector<3>("max_rotation", 0.01, 2.5, wrench.max_rotation);
  wrench.translational_damping =
      table.number("translational_damping", 20.0, 400.0, wrench.translational_damping);
  wrench.rotational_damping =
      table.number("rotational_damping", 2.0, 30.0, wrench.rotational_damping);
  table.finish();
}

}  // namespace

ControllerConfig read_control(ConfigTable& root, double period_s) {
  ControllerConfig config;
  config.gains = read_gains(root.table("impedance"));
  config.joint_gains = read_joint_gains(root.table("joint_impedance"));
  read_filters(root.table("control"), config, period_s);
  read_limits(root.table("limits"), config);
  read_wrench(root.table("wrench"), config.wrench);
  return config;
}

}  // namespace serl_rt
