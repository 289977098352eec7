// How the policy side sees the control side: the newest state, a place for the next target, and the
// passing of one policy period. Lockstep runs the ticks inline, realtime waits for the control
// thread.
#pragma once

#include "core/types.hpp"
#include "drivers/driver.hpp"

namespace serl_rt {

// Called from the policy thread only.
class ControlPort {
 public:
  virtual ~ControlPort() = default;

  // Newest robot state.
  virtual const State& state() noexcept = 0;

  // Hands a target to the 1 kHz loop; the port numbers it.
  virtual void set_target(Target target) noexcept = 0;

  // Lets one policy period pass. False: the robot is gone or the program is stopping.
  virtual bool advance() noexcept = 0;

  // Brings the arm to an episode's start, at rest: simulated time places it there, a robot moves
  // there with minimum jerk in `duration_s`. False: as advance().
  virtual bool go_to_start(const Vec7& q, double duration_s) noexcept = 0;

  // True when the controller has stopped the arm and follows no policy: somebody asked for it, or a
  // joint passed a limit.
  virtual bool stopped() const noexcept = 0;

  // False while the robot is away: it was lost, and is being recovered.
  virtual bool ready() const noexcept = 0;

  virtual Gripper& gripper() noexcept = 0;
};

}  // namespace serl_rt
