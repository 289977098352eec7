// Turns a policy's action, numbers in [-1, 1], into a target and a gripper opening.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "core/fault.hpp"
#include "core/limits.hpp"
#include "core/types.hpp"
#include "policy/contract.hpp"

namespace serl_rt {

struct MappedAction {
  std::optional<Fault> fault;    // the action is refused; target and gripper_command are unchanged
  double refused_value = 0.0;    // the component that was refused
  Target target;                 // mode with pose or q
  double gripper_command = 1.0;  // 0 closed .. 1 open
};

// Rounding in the policy's last operation may exceed 1 by this; it is clipped, more is refused.
inline constexpr float kActionTolerance = 1e-4F;

// Where joint targets are clipped.
struct JointRange {
  Vec7 low, high;  // [rad]
};

// The robot's limits less a margin that keeps targets clear of the joint stop.
JointRange joint_range(const RobotLimits& limits) noexcept;

// Belongs to the policy thread. reset() and map() neither allocate nor throw.
class ActionMapper {
 public:
  // `contract` must be valid.
  explicit ActionMapper(const Contract& contract,
                        const JointRange& range = joint_range(fr3_limits()));

  // Call at an episode's start: targets count from here, and an action without rotation keeps
  // this orientation.
  void reset(const State& state) noexcept;

  // `gripper_command` is the last command, which the gripper keeps unless the action changes it.
  MappedAction map(std::span<const float> action, const State& state,
                   double gripper_command) noexcept;

 private:
  enum class Motion { kTcpPosition, kTcpPose, kJointPosition };
  enum class GripperKind { kNone, kThreshold, kContinuous, kContinuousDelta };

  Pose move_tcp(std::span<const float> action, const Pose& anchor) const noexcept;
  Vec7 move_joints(std::span<const float> action, const Vec7& anchor) const noexcept;
  double move_gripper(double action, double command) const noexcept;

  std::size_t size_;
  Motion motion_ = Motion::kTcpPosition;
  std::size_t motion_offset_ = 0;
  Vec7 scale_ = Vec7::Zero();  // [m, rad] of the motion's components
  bool tool_frame_ = false;
  bool from_target_ = false;  // anchor: the last target instead of the measured pose
  GripperKind gripper_ = GripperKind::kNone;
  std::size_t gripper_offset_ = 0;
  double gripper_parameter_ = 0.0;       // threshold, or scale of kContinuousDelta
  Vec3 workspace_low_, workspace_high_;  // [m]
  JointRange joint_range_;
  Quat start_orientation_ = Quat::Identity();
  Target target_;  // the last one
};

}  // namespace serl_rt
