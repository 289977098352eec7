// A parallel gripper: what it can be asked, what it says about itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace serl_rt {

struct GripperCommand {
  enum class Kind : std::uint8_t {
    kMove,      // fingers to `width`
    kGrasp,     // close until something is held with `force`
    kStop,      // stay where the fingers are
    kActivate,  // make ready: Robotiq activates (the fingers move), the Franka hand homes
  };
  Kind kind = Kind::kMove;
  double width = 0.0;             // [m] between the fingers
  std::optional<double> speed{};  // [m/s] unset: the configured one
  std::optional<double> force{};  // [N] the same
};

struct GripperStatus {
  double width = 0.0;    // [m] measured
  double opening = 0.0;  // the same as a fraction, 0 closed .. 1 open
  bool connected = true;
  bool moving = false;     // a command is being executed
  bool grasped = false;    // the fingers hold something
  std::uint64_t done = 0;  // number of the newest command that has ended, in whatever way
  std::string failure{};   // why the last command or the connection failed; empty: it did not
};

// Any thread but the control thread may call it; no call waits for the device. A new command
// interrupts the one before.
class Gripper {
 public:
  virtual ~Gripper() = default;

  // What a policy asks for at every step: an opening, 0 closed .. 1 open. Asking for the same again
  // does nothing.
  virtual void command(double opening) noexcept = 0;

  // Newest measured opening, 0..1.
  virtual double opening() const noexcept = 0;

  // Distance between the fingers when fully open [m].
  virtual double max_width() const noexcept = 0;

  // What a person or a program asks for. Returns the command's number, see GripperStatus::done.
  // Throws Error: it cannot do that at all, or the width is out of range.
  virtual std::uint64_t request(const GripperCommand& command) = 0;

  virtual GripperStatus status() const = 0;
};

// No gripper: open, whatever a policy asks.
class NoGripper final : public Gripper {
 public:
  void command(double) noexcept override {}
  double opening() const noexcept override { return 1.0; }
  double max_width() const noexcept override { return 0.0; }
  std::uint64_t request(const GripperCommand& command) override;
  GripperStatus status() const override { return {.opening = 1.0}; }
};

}  // namespace serl_rt
