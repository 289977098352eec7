#include "policy/observation.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.hpp"

namespace serl_rt {
namespace {

template <typename Vector>
void write(const Vector& values, std::span<float> out) noexcept {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(values[static_cast<Eigen::Index>(i)]);
  }
}

// xyz and quaternion xyzw, of the two signs the one nearer to `side`.
void write_pose(const Pose& pose, const Quat& side, std::span<float> out) noexcept {
  const double sign = pose.orientation.dot(side) < 0.0 ? -1.0 : 1.0;
  Vec7 values;
  values << pose.position, sign * pose.orientation.coeffs();
  write(values, out);
}

// Linear and angular part turned from the base frame into the tool's.
Vec6 to_tool(const Vec6& twist, const Quat& orientation) noexcept {
  Vec6 turned;
  turned << orientation.conjugate() * twist.head<3>(), orientation.conjugate() * twist.tail<3>();
  return turned;
}

// The same sign for all orientations that differ little: the first component (x, y, z, w) that is
// not small becomes positive. A tool that points down is at w = 0, where "w >= 0" would flip.
Quat fix_sign(const Quat& orientation) noexcept {
  constexpr double kSmall = 0.1;
  for (int i = 0; i < 4; ++i) {
    const double value = orientation.coeffs()[i];
    if (std::abs(value) > kSmall) {
      return value > 0.0 ? orientation : Quat(-orientation.coeffs());
    }
  }
  return orientation;
}

std::string known_names(const std::vector<TaskField>& task_fields) {
  std::string names;
  for (const ComputedField& field : computed_fields()) {
    names += (names.empty() ? "" : ", ") + std::string(field.name);
  }
  for (const TaskField& field : task_fields) names += ", " + field.name;
  return names;
}

}  // namespace

ObservationBuilder::ObservationBuilder(const Contract& contract,
                                       const std::vector<TaskField>& task_fields) {
  for (const ObservationField& wanted : contract.observation) {
    const Field field = resolve(wanted, task_fields);
    fields_.push_back(field);
    layout_.push_back({wanted.name, wanted.shape, field.offset, field.size});
    size_ += field.size;
  }
}

ObservationBuilder::Field ObservationBuilder::resolve(
    const ObservationField& wanted, const std::vector<TaskField>& task_fields) const {
  const auto size = static_cast<std::size_t>(wanted.size());
  const auto& computed = computed_fields();  // in the order of Source
  for (std::size_t i = 0; i < computed.size(); ++i) {
    if (computed[i].name == wanted.name) {
      return {static_cast<Source>(i), wanted.frame == "tool", 0, size_, size};
    }
  }
  for (std::size_t i = 0; i < task_fields.size(); ++i) {
    if (task_fields[i].name != wanted.name) continue;
    if (task_fields[i].size != wanted.size()) {
      throw Error("contract: observation '" + wanted.name + "' has " + std::to_string(size) +
                  " values, but the task gives " + std::to_string(task_fields[i].size));
    }
    return {Source::kTask, false, i, size_, size};
  }
  throw Error("contract: observation '" + wanted.name +
              "' is neither computed by the controller nor given by the task; choose from " +
              known_names(task_fields));
}

void ObservationBuilder::reset(const State& state) noexcept {
  start_ = {state.O_T_EE.position, fix_sign(state.O_T_EE.orientation)};
}

void ObservationBuilder::build(const State& state, double gripper_opening, double gripper_command,
                               const Task* task, std::span<float> out) const noexcept {
  const Pose& tcp = state.O_T_EE;
  const Quat to_start = start_.orientation.conjugate();
  for (const Field& field : fields_) {
    const std::span<float> values = out.subspan(field.offset, field.size);
    const auto in_frame = [&](const Vec6& vector) -> Vec6 {
      return field.tool_frame ? to_tool(vector, tcp.orientation) : vector;
    };
    switch (field.source) {
      case Source::kJointPosition:
        write(state.q, values);
        break;
      case Source::kJointVelocity:
        write(state.dq, values);
        break;
      case Source::kJointTorque:
        write(state.tau_J, values);
        break;
      case Source::kTcpPose:
        write_pose(tcp, start_.orientation, values);
        break;
      case Source::kTcpPoseRelative:
        write_pose({to_start * (tcp.position - start_.position), to_start * tcp.orientation},
                   Quat::Identity(), values);
        break;
      case Source::kTcpPosition:
        write(tcp.position, values);
        break;
      case Source::kTcpVelocity:
      case Source::kTcpLinearVelocity:  // its first three
        write(in_frame(tcp_twist(state)), values);
        break;
      case Source::kTcpForce:
        write(in_frame(state.O_F_ext), values);  // its first three
        break;
      case Source::kTcpTorque:
        write(in_frame(state.O_F_ext).tail<3>(), values);
        break;
      case Source::kGripper:
        values[0] = static_cast<float>(gripper_opening);
        break;
      case Source::kGripperCommand:
        values[0] = static_cast<float>(gripper_command);
        break;
      case Source::kTask:
        task->observe(field.task_field, state, values);
        break;
    }
  }
}

}  // namespace serl_rt
