#include "policy/action.hpp"

#include <algorithm>
#include <cmath>

namespace serl_rt {
namespace {

constexpr double kTernaryThreshold = 0.5;  // half way between the values -1, 0 and 1

constexpr double kJointMargin = 0.02;  // [rad] twice the default of JointStop

double clip(float component) noexcept { return std::clamp(component, -1.0F, 1.0F); }

// The rotation by |v| about v (exponential map).
Quat from_rotation_vector(const Vec3& v) noexcept {
  const double angle = v.norm();
  if (angle < 1e-12) return Quat::Identity();
  return Quat(Eigen::AngleAxisd(angle, v / angle));
}

}  // namespace

JointRange joint_range(const RobotLimits& limits) noexcept {
  return {limits.q_min.array() + kJointMargin, limits.q_max.array() - kJointMargin};
}

ActionMapper::ActionMapper(const Contract& contract, const JointRange& range)
    : size_(static_cast<std::size_t>(contract.action_dim())),
      workspace_low_(contract.workspace_low.data()),
      workspace_high_(contract.workspace_high.data()),
      joint_range_(range) {
  std::size_t offset = 0;
  for (const ActionField& field : contract.action) {
    if (field.name == "gripper") {
      gripper_offset_ = offset;
      gripper_ = field.kind == "continuous"         ? GripperKind::kContinuous
                 : field.kind == "continuous_delta" ? GripperKind::kContinuousDelta
                                                    : GripperKind::kThreshold;
      gripper_parameter_ = field.kind == "continuous_delta"
                               ? field.scale.front()
                               : field.threshold.value_or(kTernaryThreshold);
    } else {
      motion_offset_ = offset;
      motion_ = field.name == "joint_delta" ? Motion::kJointPosition
                : field.size() == 6         ? Motion::kTcpPose
                                            : Motion::kTcpPosition;
      for (int i = 0; i < field.size(); ++i) scale_[i] = field.scale[static_cast<std::size_t>(i)];
      tool_frame_ = field.frame == "tool";
      from_target_ = field.anchor == "target";
    }
    offset += static_cast<std::size_t>(field.size());
  }
  target_.mode =
      motion_ == Motion::kJointPosition ? Mode::kJointImpedance : Mode::kCartesianImpedance;
}

void ActionMapper::reset(const State& state) noexcept {
  start_orientation_ = state.O_T_EE.orientation;
  target_.pose = state.O_T_EE;
  target_.q = state.q;
}

MappedAction ActionMapper::map(std::span<const float> action, const State& state,
                               double gripper_command) noexcept {
  MappedAction result;
  result.target = target_;
  result.gripper_command = gripper_command;
  for (const float component : action) {
    if (!std::isfinite(component)) {
      result.fault = Fault::kPolicyNonFinite;
    } else if (std::abs(component) > 1.0F + kActionTolerance) {
      result.fault = Fault::kPolicyOutOfRange;
    }
    if (result.fault) {
      result.refused_value = component;
      return result;
    }
  }
  if (action.size() != size_) {
    result.fault = Fault::kPolicyOutOfRange;
    result.refused_value = static_cast<double>(action.size());
    return result;
  }
  const auto motion = action.subspan(motion_offset_);
  if (motion_ == Motion::kJointPosition) {
    target_.q = move_joints(motion, from_target_ ? target_.q : state.q);
  } else {
    target_.pose = move_tcp(motion, from_target_ ? target_.pose : state.O_T_EE);
  }
  result.target = target_;
  if (gripper_ != GripperKind::kNone) {
    result.gripper_command = move_gripper(clip(action[gripper_offset_]), gripper_command);
  }
  return result;
}

Pose ActionMapper::move_tcp(std::span<const float> action, const Pose& anchor) const noexcept {
  Vec3 step(clip(action[0]) * scale_[0], clip(action[1]) * scale_[1], clip(action[2]) * scale_[2]);
  if (tool_frame_) step = anchor.orientation * step;
  Pose pose;
  pose.position = (anchor.position + step).cwiseMax(workspace_low_).cwiseMin(workspace_high_);
  pose.orientation = start_orientation_;
  if (motion_ == Motion::kTcpPose) {
    const Quat turn = from_rotation_vector(
        {clip(action[3]) * scale_[3], clip(action[4]) * scale_[4], clip(action[5]) * scale_[5]});
    pose.orientation = tool_frame_ ? anchor.orientation * turn : turn * anchor.orientation;
    pose.orientation.normalize();
  }
  return pose;
}

Vec7 ActionMapper::move_joints(std::span<const float> action, const Vec7& anchor) const noexcept {
  Vec7 q = anchor;
  for (std::size_t i = 0; i < kJoints; ++i) {
    const auto joint = static_cast<Eigen::Index>(i);
    q[joint] += clip(action[i]) * scale_[joint];
  }
  return q.cwiseMax(joint_range_.low).cwiseMin(joint_range_.high);
}

double ActionMapper::move_gripper(double action, double command) const noexcept {
  switch (gripper_) {
    case GripperKind::kThreshold:
      return action < -gripper_parameter_ ? 0.0 : action > gripper_parameter_ ? 1.0 : command;
    case GripperKind::kContinuous:
      return 0.5 * (action + 1.0);
    case GripperKind::kContinuousDelta:
      return std::clamp(command + gripper_parameter_ * action, 0.0, 1.0);
    case GripperKind::kNone:
      break;
  }
  return command;
}

}  // namespace serl_rt
