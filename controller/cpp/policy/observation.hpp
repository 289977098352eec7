// Computes the observation that a contract asks for, but for its images, from the robot's state.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/types.hpp"
#include "drivers/task.hpp"
#include "policy/contract.hpp"

namespace serl_rt {

// Belongs to the policy thread. build() and reset() neither allocate nor throw.
class ObservationBuilder {
 public:
  // Where one field lies in the flat observation.
  struct Slice {
    std::string name;
    std::vector<int> shape;
    std::size_t offset;
    std::size_t size;
  };

  // Finds out where every field comes from: computed here, or one of the task's. Throws Error,
  // which lists the valid names, when a field is unknown or of another size.
  ObservationBuilder(const Contract& contract, const std::vector<TaskField>& task_fields);

  // Call at an episode's start: relative poses count from here, and quaternions stay on the side
  // of this one (q and -q are the same rotation, but not the same observation).
  void reset(const State& state) noexcept;

  // Fills `out`, size() values: the fields of the contract in order, SI units. `gripper_opening` is
  // measured, `gripper_command` the last command, both 0 closed to 1 open. `task` may be null when
  // none of its fields is asked for.
  void build(const State& state, double gripper_opening, double gripper_command, const Task* task,
             std::span<float> out) const noexcept;

  std::size_t size() const noexcept { return size_; }
  const std::vector<Slice>& layout() const noexcept { return layout_; }

 private:
  enum class Source {  // in the order of computed_fields()
    kJointPosition,
    kJointVelocity,
    kJointTorque,
    kTcpPose,
    kTcpPoseRelative,
    kTcpPosition,
    kTcpVelocity,
    kTcpLinearVelocity,
    kTcpForce,
    kTcpTorque,
    kGripper,
    kGripperCommand,
    kTask,
  };
  struct Field {
    Source source;
    bool tool_frame;         // the vectors turn with the tool
    std::size_t task_field;  // of kTask
    std::size_t offset;
    std::size_t size;
  };

  Field resolve(const ObservationField& wanted, const std::vector<TaskField>& task_fields) const;

  std::vector<Field> fields_;
  std::vector<Slice> layout_;
  std::size_t size_ = 0;
  Pose start_;
};

}  // namespace serl_rt
