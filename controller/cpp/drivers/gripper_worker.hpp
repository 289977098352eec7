// Runs a gripper's hardware on a thread of its own: connects, begins the newest command, asks for
// the state, and connects again after a loss.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "drivers/gripper.hpp"

namespace serl_rt {

// What the worker needs to know after each look at the hardware.
struct GripperReport {
  double width = 0.0;      // [m]
  double max_width = 0.0;  // [m]
  bool moving = false;     // the command that was begun last is still executed
  bool grasped = false;
  std::string failure;  // of that command; empty: none
};

// A device as its thread sees it. Every call returns within a fraction of a second and throws Error
// when the connection is lost.
class GripperHardware {
 public:
  virtual ~GripperHardware() = default;
  // Error: it cannot be reached. Must not move the fingers.
  virtual void connect() = 0;
  virtual void disconnect() noexcept = 0;
  // Begins a command in place of the one before. The width is within range.
  virtual void begin(const GripperCommand& command) = 0;
  virtual GripperReport poll() = 0;
};

struct GripperWorkerConfig {
  double max_width = 0.08;  // [m] until the hardware says it
  // Opening below which a policy's command is a grasp; 0: it never is.
  double grasp_below = 0.0;
  bool activate = false;  // at the first connection
};

class GripperWorker final : public Gripper {
 public:
  GripperWorker(std::unique_ptr<GripperHardware> hardware, const GripperWorkerConfig& config);
  ~GripperWorker() override;  // the fingers stop where they are if a command is still executed

  void command(double opening) noexcept override;
  double opening() const noexcept override { return opening_.load(std::memory_order_relaxed); }
  double max_width() const noexcept override { return max_width_.load(std::memory_order_relaxed); }
  // A command while there is no connection fails at once: fingers must not move by themselves
  // later, when the connection is back.
  std::uint64_t request(const GripperCommand& command) override;
  GripperStatus status() const override;

 private:
  struct Pending {
    GripperCommand command;
    std::uint64_t number = 0;
  };

  void run();
  bool connect();
  void take_command();
  void look();
  void lose(const std::string& why);
  std::uint64_t enqueue(const GripperCommand& command);

  const std::unique_ptr<GripperHardware> hardware_;
  const GripperWorkerConfig config_;
  std::atomic<double> opening_ = 1.0;
  std::atomic<double> max_width_;

  std::uint64_t begun_ = 0;     // worker: number of the command that the hardware executes
  bool was_connected_ = false;  // worker

  mutable std::mutex mutex_;  // the five below
  std::condition_variable wake_;
  std::optional<Pending> pending_;  // newest wins
  GripperStatus status_;
  std::uint64_t number_ = 0;
  std::optional<double> asked_opening_;  // by command(); unset after anything else
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace serl_rt
