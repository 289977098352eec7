#include "app/robot_connection.hpp"

#include <thread>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

constexpr std::chrono::milliseconds kRetryInterval{200};
constexpr std::chrono::milliseconds kLookInterval{20};  // at `stop`
constexpr std::size_t kRecent = 20;

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

void wait(const std::atomic<bool>& stop) {
  const auto end = std::chrono::steady_clock::now() + kRetryInterval;
  while (!stop && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(kLookInterval);
}

}  // namespace

std::vector<std::string> reflex_names(const std::string& what) {
  std::vector<std::string> names;
  const std::size_t end = what.find(']', what.find('['));
  std::size_t quote = what.find('"', what.find('['));
  while (quote < end) {
    const std::size_t close = what.find('"', quote + 1);
    if (close >= end) break;
    names.push_back(what.substr(quote + 1, close - quote - 1));
    quote = what.find('"', close + 1);
  }
  return names;
}

std::string loss_name(const Trouble& trouble) {
  std::string joined;
  if (trouble.absence == Absence::kReflex) {
    for (const std::string& name : reflex_names(trouble.what)) {
      joined += (joined.empty() ? "" : " and ") + name;
    }
  }
  return joined.empty() ? std::string("driver_lost_") + to_string(trouble.absence) : joined;
}

RobotConnection::RobotConnection(RobotDriver& driver, ControlLoop& loop, Controller& controller,
                                 const RecoveryLimit& limit, const std::optional<RobotLoad>& load)
    : driver_(driver), loop_(loop), controller_(controller), limit_(limit), begin_(Clock::now()) {
  status_.load.load = load;
}

bool RobotConnection::run(const std::atomic<bool>& stop, const ConnectionHooks& hooks) {
  const bool served = serve(stop, hooks);
  driver_.stop();
  return served;
}

bool RobotConnection::serve(const std::atomic<bool>& stop, const ConnectionHooks& hooks) {
  if (const Trouble trouble = driver_.start(); trouble.absence != Absence::kNone) {
    note_trouble(trouble);
    const std::scoped_lock lock(mutex_);
    failure_ = trouble.what;
    return false;
  }
  {
    const std::scoped_lock lock(mutex_);
    status_.absence = Absence::kNone;
  }
  while (true) {
    hooks.before_ticks();
    present_.store(true, std::memory_order_release);
    const bool braked = loop_.run(stop, &change_asked_);
    present_.store(false, std::memory_order_release);
    if (braked && stop) return true;
    const Trouble trouble = braked ? restart_with_load() : driver_.trouble();
    if (trouble.absence != Absence::kNone) {
      note_loss(trouble);
      hooks.on_loss(trouble);
      if (!recover(stop, hooks)) return stop;
      note_recovery();
    }
    controller_.request_stop();  // what was asked for before is not asked for now
  }
}

bool RobotConnection::recover(const std::atomic<bool>& stop, const ConnectionHooks& hooks) {
  bool told = false;
  while (!stop) {
    const Absence absence = status().absence;
    if (absence == Absence::kUnusable) {
      const std::scoped_lock lock(mutex_);
      failure_ = status_.last_trouble;
      return false;
    }
    if (absence == Absence::kOperator && !std::exchange(told, true)) hooks.on_person();
    if (may_try()) {
      const Trouble trouble = driver_.start();
      if (trouble.absence == Absence::kNone) return true;
      note_trouble(trouble);
    }
    wait(stop);
  }
  return false;
}

Trouble RobotConnection::restart_with_load() {
  std::optional<RobotLoad> load;
  std::optional<RobotLoad> before;
  {
    const std::scoped_lock lock(mutex_);
    load = wanted_;
    before = status_.load.load;
  }
  if (!loop_.at_rest()) {
    end_change("the arm did not come to rest: let go of it and try again");
    return {};
  }
  if (const std::string problem = driver_.set_load(load); !problem.empty()) {
    end_change(problem);
    return {};
  }
  driver_.stop();
  const Trouble refused = driver_.start();
  if (refused.absence == Absence::kNone) {
    end_change({});
    return {};
  }
  driver_.set_load(before);
  const Trouble trouble = driver_.start();
  end_change(refused.what);
  return trouble;
}

void RobotConnection::end_change(const std::string& failure) {
  const std::scoped_lock lock(mutex_);
  if (!wanted_) return;
  if (failure.empty()) status_.load.load = wanted_;
  status_.load.failure = failure;
  status_.load.done = status_.load.asked;
  wanted_.reset();
  change_asked_.store(false, std::memory_order_release);
}

std::uint64_t RobotConnection::change_load(const RobotLoad& load) {
  const std::scoped_lock lock(mutex_);
  if (wanted_) throw Error("another change of the load is under way");
  if (!present()) throw Error("the robot is not there: its load can be set when it is back");
  wanted_ = load;
  change_asked_.store(true, std::memory_order_release);
  return ++status_.load.asked;
}

bool RobotConnection::may_try() const {
  const std::scoped_lock lock(mutex_);
  return static_cast<int>(reflex_times_.size()) <= limit_.reflexes;
}

void RobotConnection::note_loss(const Trouble& trouble) {
  end_change("the robot was lost before it had the load: " + trouble.what);
  note_trouble(trouble);
  const std::scoped_lock lock(mutex_);
  lost_at_ = Clock::now();
  cause_ = trouble;
  ++status_.absences;
}

void RobotConnection::note_trouble(const Trouble& trouble) {
  const auto now = Clock::now();
  const std::scoped_lock lock(mutex_);
  status_.absence = trouble.absence;
  status_.last_trouble = trouble.what;
  status_.needs_operator = trouble.absence == Absence::kOperator;
  if (trouble.absence != Absence::kReflex) return;
  for (const std::string& name : reflex_names(trouble.what)) ++status_.reflexes[name];
  while (!reflex_times_.empty() && seconds(now - reflex_times_.front()) > limit_.window_s) {
    reflex_times_.pop_front();
  }
  reflex_times_.push_back(now);
  if (static_cast<int>(reflex_times_.size()) > limit_.reflexes) {
    status_.needs_operator = true;
    status_.last_trouble =
        std::to_string(reflex_times_.size()) + " reflexes within " +
        std::to_string(static_cast<int>(limit_.window_s)) +
        " s: look at the robot, then give the command 'recover'; the last: " + trouble.what;
  }
}

void RobotConnection::note_recovery() {
  const auto now = Clock::now();
  const std::scoped_lock lock(mutex_);
  ++status_.recoveries;
  status_.absence = Absence::kNone;
  status_.needs_operator = false;
  status_.recent.push_back(
      {loss_name(cause_), cause_.what, seconds(lost_at_ - begin_), seconds(now - lost_at_)});
  if (status_.recent.size() > kRecent) status_.recent.erase(status_.recent.begin());
}

RobotStatus RobotConnection::status() const {
  RobotStatus status;
  {
    const std::scoped_lock lock(mutex_);
    status = status_;
  }
  status.present = present();
  status.quality = driver_.quality();
  return status;
}

std::string RobotConnection::failure() const {
  const std::scoped_lock lock(mutex_);
  return failure_;
}

void RobotConnection::allow_recovery() {
  const std::scoped_lock lock(mutex_);
  reflex_times_.clear();
  status_.needs_operator = false;
}

}  // namespace serl_rt
