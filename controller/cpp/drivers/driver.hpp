// The seam between the controller and a robot: two calls per tick, nothing else.
// Implement this interface to add another torque-controlled arm.
#pragma once

#include "core/types.hpp"

namespace serl_rt {

class RobotDriver {
 public:
  virtual ~RobotDriver() = default;

  // Blocks until the next 1 kHz sample and fills `state`. False: the connection is gone.
  // Called from the control thread only.
  virtual bool read(State& state) noexcept = 0;

  // Sends joint torques [Nm] without gravity. False: the connection is gone.
  // Called from the control thread only, once after each read().
  virtual bool write(const Vec7& tau) noexcept = 0;
};

// A parallel gripper. Any thread but the control thread may call it.
class Gripper {
 public:
  virtual ~Gripper() = default;

  // Asks for an opening: 0 closed, 1 open. Returns at once.
  virtual void command(double opening) noexcept = 0;

  // Newest measured opening, 0..1.
  virtual double opening() const noexcept = 0;

  // Distance between the fingers when fully open [m].
  virtual double max_width() const noexcept = 0;
};

}  // namespace serl_rt
