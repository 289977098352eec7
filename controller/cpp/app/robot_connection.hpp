// The life of the robot's connection, outside of the tick: start, run until the robot is gone,
// recover, run again, stop. Keeps the account of it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/config.hpp"
#include "core/control_loop.hpp"
#include "core/controller.hpp"
#include "drivers/driver.hpp"

namespace serl_rt {

struct Recovery {
  std::string name;         // loss_name() of the absence that it ended
  std::string cause;        // the robot's sentence about it
  double begin_s = 0.0;     // [s] since the program's start
  double duration_s = 0.0;  // [s] from noticing it to taking torques again
};

// What the robot was told to carry, and what became of the last change.
struct LoadStatus {
  std::optional<RobotLoad> load;  // null: as the robot has it
  std::uint64_t asked = 0;        // changes so far
  std::uint64_t done = 0;         // of them that are over
  std::string failure;            // of the last one that is over; empty: it is in force
};

struct RobotStatus {
  bool present = false;                 // takes torques
  bool needs_operator = false;          // away, and not coming back by itself
  Absence absence = Absence::kNetwork;  // meaningful while not present
  std::string last_trouble;             // empty: none yet
  CommandQuality quality;
  std::map<std::string, std::uint64_t> reflexes;  // by name, how often
  std::uint64_t absences = 0;                     // times that the robot was lost
  std::uint64_t recoveries = 0;
  std::vector<Recovery> recent;  // the last few
  LoadStatus load;
};

// What the program does when the robot comes and goes. On the control thread, outside of the tick.
struct ConnectionHooks {
  std::function<void()> before_ticks;           // each time before the ticks begin
  std::function<void(const Trouble&)> on_loss;  // each time that the robot is gone
  std::function<void()> on_person;  // once in each absence that only a person can end (user stop,
                                    // brakes): who pressed a stop does not release a policy with it
};

class RobotConnection {
 public:
  // All must outlive this.
  RobotConnection(RobotDriver& driver, ControlLoop& loop, Controller& controller,
                  const RecoveryLimit& limit, const std::optional<RobotLoad>& load = {});

  // Control thread. Starts the robot and ticks until `stop` is set, then brakes and ends. A robot
  // that gets lost is recovered, and the controller begins anew at the measured state, stopped: it
  // follows nothing until a hold, a joint move or hand guiding is asked for. False: the robot could
  // not be had at first, or is gone for good; failure() says why.
  bool run(const std::atomic<bool>& stop, const ConnectionHooks& hooks);

  // Any thread.
  bool present() const noexcept { return present_.load(std::memory_order_acquire); }
  RobotStatus status() const;
  std::string failure() const;

  // Any thread: asks for another load, which a robot takes only while no control runs. The arm is
  // braked, its control ends and begins anew at the measured state, stopped as after an absence,
  // but neither an absence nor a reflex is counted. A robot that refuses the load is started with
  // the one before. Returns the number that LoadStatus::done has when it is over. Throws Error:
  // the robot is away, or a change is under way.
  std::uint64_t change_load(const RobotLoad& load);

  // Any thread: a person has looked; recover as if nothing had been.
  void allow_recovery();

 private:
  using Clock = std::chrono::steady_clock;

  bool serve(const std::atomic<bool>& stop, const ConnectionHooks& hooks);
  bool recover(const std::atomic<bool>& stop, const ConnectionHooks& hooks);
  Trouble restart_with_load();
  void end_change(const std::string& failure);
  bool may_try() const;
  void note_loss(const Trouble& trouble);
  void note_trouble(const Trouble& trouble);
  void note_recovery();

  RobotDriver& driver_;
  ControlLoop& loop_;
  Controller& controller_;
  const RecoveryLimit limit_;
  const Clock::time_point begin_;
  std::atomic<bool> present_ = false;
  std::atomic<bool> change_asked_ = false;  // wanted_ is set

  mutable std::mutex mutex_;  // all below; never taken within a tick
  RobotStatus status_;
  std::string failure_;
  std::optional<RobotLoad> wanted_;  // of the change that is under way
  Trouble cause_;                    // of the current absence
  Clock::time_point lost_at_;
  std::deque<Clock::time_point> reflex_times_;  // within the window
};

// The names in ["name", ...] at the end of a reflex's sentence; empty without.
std::vector<std::string> reflex_names(const std::string& what);

// A short name for why the robot is gone: a reflex's names, joined by " and ", or driver_lost and
// the kind of absence ("driver_lost_network").
std::string loss_name(const Trouble& trouble);

}  // namespace serl_rt
