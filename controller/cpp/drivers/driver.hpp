// The seam between the controller and a robot: two calls per tick, and the life of a connection.
// Implement it to add another torque-controlled arm, here or in Python (controller/driver.py).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/types.hpp"
#include "drivers/gripper.hpp"
#include "drivers/robot_config.hpp"

namespace serl_rt {

// Why a robot does not take torques. Who may end it decides what is done about it.
enum class Absence : std::uint8_t {
  kNone,      // it does take torques
  kReflex,    // it stopped itself, at a limit or a collision: start() clears that
  kNetwork,   // it does not answer: start() connects anew
  kOperator,  // somebody must act: user stop, brakes, another program has the control
  kUnusable,  // it never will: wrong version, wrong parameters
};

constexpr const char* to_string(Absence absence) noexcept {
  switch (absence) {
    case Absence::kNone:
      return "none";
    case Absence::kReflex:
      return "reflex";
    case Absence::kNetwork:
      return "network";
    case Absence::kOperator:
      return "operator";
    case Absence::kUnusable:
      break;
  }
  return "unusable";
}

struct Trouble {
  Absence absence = Absence::kNone;
  std::string what;  // a sentence for people; of a reflex, its names as ["name", ...]
};

// What the robot says about the stream of torques.
struct CommandQuality {
  double success_rate = 1.0;      // of the last 100 cycles, as the robot counts it
  std::uint64_t lost_cycles = 0;  // that the robot ran without this program, while in control
};

class RobotDriver {
 public:
  virtual ~RobotDriver() = default;

  // ---- Control thread, in the tick.

  // Blocks until the next 1 kHz sample and fills `state`, whose time never goes back, not even
  // over a start(). False: no more torques, trouble() says why.
  virtual bool read(State& state) noexcept = 0;

  // Sends joint torques [Nm] without gravity, once after each read(). False: as read().
  virtual bool write(const Vec7& tau) noexcept = 0;

  // ---- Control thread, outside of the tick: may take a few seconds, allocate and make system
  // calls.

  // Brings the robot to where it takes torques, whatever state it is in: connects, clears a
  // reflex, sets it up. Without trouble, read() follows at once. A simulation is always there.
  virtual Trouble start() { return {}; }

  // Ends the torque control of an arm that is at rest, if it has any: the control thread's last
  // call, or the one before a planned start().
  virtual void stop() noexcept {}

  // The load of every start() from now on; null: what the robot has stays. Returns why it cannot
  // be, empty if it can.
  virtual std::string set_load(const std::optional<RobotLoad>& /*load*/) {
    return "this robot's driver cannot change the load while the controller runs";
  }

  // Why read() or write() returned false.
  virtual Trouble trouble() const { return {Absence::kUnusable, "the simulation has diverged"}; }

  // ---- Any thread.

  virtual CommandQuality quality() const noexcept { return {}; }
};

}  // namespace serl_rt
