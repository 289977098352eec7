// The physics of the simulated arm: one MuJoCo model and its state, advanced tick by tick.
// One thread owns a SimWorld; it does nothing about time or threads.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "core/types.hpp"

namespace serl_rt {

// Where a free body's pose and velocity are in the state vectors.
struct FreeBody {
  int qpos = -1;  // xyz [m], then quaternion wxyz
  int qvel = -1;
};

class SimWorld {
 public:
  // Loads an MJCF file whose arm has joints joint1..joint7 and a site tcp, whose gripper has an
  // actuator gripper (setpoint: width) and joints left_finger and right_finger.
  // Throws Error that says what is wrong with the file.
  explicit SimWorld(const std::filesystem::path& mjcf);
  ~SimWorld();
  SimWorld(SimWorld&&) noexcept;
  SimWorld& operator=(SimWorld&&) noexcept;

  // Makes everything that depends on position and velocity current, and fills `state` (all but the
  // time). tau_J and tau_J_d are those of the last step.
  void observe(State& state) noexcept;

  // Advances by one tick under the joint torques [Nm], without gravity. Call observe() before.
  void step(const Vec7& tau) noexcept;

  // False when the simulation has diverged (a position, velocity or acceleration is not finite).
  bool healthy() const noexcept;

  // Gripper: 0 closed, 1 open.
  void command_gripper(double opening) noexcept;
  double gripper_opening() const noexcept;
  double max_gripper_width() const noexcept;  // [m]

  // Puts the arm at rest at q, the gripper at an opening, everything else where the file has it.
  void reset(const Vec7& q, double opening) noexcept;

  // Puts a free body at rest at a pose.
  void place_object(FreeBody object, const Pose& pose) noexcept;

  // The free body of this name. Throws Error if the model has none.
  FreeBody find_object(std::string_view name) const;

  // Generalised positions of the whole model, in MuJoCo's order.
  std::span<const double> qpos() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
