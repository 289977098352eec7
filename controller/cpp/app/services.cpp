#include "app/services.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "app/load_command.hpp"
#include "core/error.hpp"

namespace serl_rt {
namespace {

// A script that steps the arm at up to this rate sees a new state each time.
constexpr double kLowestStateRateHz = 200.0;

Value robot_value(const RobotStatus& robot) {
  Value::Map reflexes;
  for (const auto& [name, count] : robot.reflexes) reflexes.emplace_back(name, count);
  Value::List recent;
  for (const Recovery& recovery : robot.recent) {
    recent.push_back(Value::Map{{"name", recovery.name},
                                {"cause", clean_text(recovery.cause)},
                                {"begin_s", recovery.begin_s},
                                {"duration_s", recovery.duration_s}});
  }
  return Value::Map{{"present", robot.present},
                    {"absence", to_string(robot.absence)},
                    {"needs_operator", robot.needs_operator},
                    {"last_trouble", clean_text(robot.last_trouble)},
                    {"command_success_rate", robot.quality.success_rate},
                    {"lost_cycles", robot.quality.lost_cycles},
                    {"reflexes", std::move(reflexes)},
                    {"absences", robot.absences},
                    {"recoveries", robot.recoveries},
                    {"recent_recoveries", std::move(recent)},
                    {"load", load_value(robot.load)}};
}

Value verdict_value(const PolicyVerdict& verdict) {
  if (!verdict.accepted) throw Error(verdict.reason);
  return Value::Map{{"version", verdict.version}, {"swap_ms", verdict.swap_ms}};
}

Value recorder_value(const FlightRecorder* recorder) {
  if (recorder == nullptr) return Value();
  const RecorderStatus status = recorder->status();
  return Value::Map{{"files", status.files},
                    {"recording", status.recording},
                    {"last_file", clean_text(status.last_file)},
                    {"last_cause", clean_text(status.last_cause)},
                    {"ticks_lost", status.ticks_lost},
                    {"failure", clean_text(status.failure)}};
}

}  // namespace

Services::Services(std::shared_ptr<Messaging> messaging, const ServicesConfig& config,
                   const TaskConfig& task, Gripper& gripper, Controller& controller,
                   ControlLoop& loop, RobotConnection& connection, PolicyManager& policies,
                   PolicyLoop& policy_loop, FlightRecorder* recorder, std::atomic<bool>& halted)
    : gripper_(gripper),
      controller_(controller),
      loop_(loop),
      connection_(connection),
      policies_(policies),
      policy_loop_(policy_loop),
      recorder_(recorder),
      halted_(halted),
      robot_commands_(task, controller, gripper, [this] { return newest(); },
                      {[this] { halt("operator_stop"); }, [this] { release(); },
                       [this](std::span<const double> action, double valid_s) {
                         policy_loop_.intervene(action, valid_s);
                       }}) {
  if (config.state_address != "none") publisher_.emplace(messaging, config.state_address);
  period_ = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(
      1.0 / std::max(kLowestStateRateHz, task.contract.policy_rate_hz)));
  watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
  if (config.command_address != "none") {
    server_.emplace(std::move(messaging), config.command_address, commands(),
                    [this](const wire::StreamTarget& target) { robot_commands_.follow(target); });
  }
}

State Services::newest() const {
  const std::scoped_lock lock(mutex_);
  return state_;
}

void Services::watch(const std::stop_token& stop) {
  State state;
  auto next = std::chrono::steady_clock::now();
  while (!stop.stop_requested()) {
    next = std::max(next + period_, std::chrono::steady_clock::now());
    std::this_thread::sleep_until(next);
    if (!loop_.observed().read(state)) continue;  // no tick since: nothing new to tell
    {
      const std::scoped_lock lock(mutex_);
      state_ = state;
    }
    if (publisher_) publish(state);
  }
}

void Services::publish(const State& state) {
  const std::array<double, 7> reference = controller_.status().reference;
  Value::Map report = controller_report(controller_);
  report.emplace_back("halted", halted_.load());
  report.emplace_back("robot_present", connection_.present());
  report.emplace_back("paused", policy_loop_.paused());
  report.emplace_back("episode", policy_loop_.episode());
  report.emplace_back("steps", policy_loop_.steps());
  publisher_->publish(
      state, gripper_.opening(),
      {Vec3(reference.data()), Quat(reference[6], reference[3], reference[4], reference[5])},
      std::move(report));
}

void Services::release() {
  halted_ = false;
  connection_.allow_recovery();
}

void Services::halt(const std::string& cause) {
  halted_ = true;  // first: a move that begins now sees it, or is stopped by the request
  controller_.request_stop();
  policy_loop_.set_paused(true);
  policy_loop_.end_episode();
  if (recorder_ != nullptr) recorder_->trigger(cause);
}

Value Services::status() const {
  const ControllerStatus controller = controller_.status();
  const PolicyStatus policies = policies_.status();
  const LoopTiming timing = loop_.timing();
  return Value::Map{{"mode", to_string(controller.mode)},
                    {"in_charge", to_string(controller.in_charge)},
                    {"stopped", controller.stopped},
                    {"halted", halted_.load()},
                    {"paused", policy_loop_.paused()},
                    {"episode", policy_loop_.episode()},
                    {"steps", policy_loop_.steps()},
                    {"policy_version", policies.active_version},
                    {"policies_swapped", policies.swapped},
                    {"policies_refused", policies.refused},
                    {"last_refusal", clean_text(policies.last_refusal)},
                    {"ticks", timing.ticks},
                    {"late_ticks", timing.late_ticks},
                    {"robot", robot_value(connection_.status())},
                    {"faults", fault_counts(controller_.faults())},
                    {"recorder", recorder_value(recorder_)}};
}

CommandSpec Services::record() {
  CommandSpec spec;
  spec.name = "record";
  spec.summary = "write the last minutes of every tick to a file; returns its name";
  spec.parameters = {Parameter::text("cause").or_none()};
  spec.run = [this](const Arguments& arguments) {
    if (recorder_ == nullptr) throw Error("this controller runs without a flight recorder");
    const std::string cause = arguments.has("cause") ? arguments.text("cause") : "command";
    return Value(clean_text(recorder_->record(cause).string()));
  };
  spec.slow = true;
  return spec;
}

std::vector<CommandSpec> Services::commands() {
  std::vector<CommandSpec> commands = {
      {"status", "what the controller does", {}, [this](const Arguments&) { return status(); }},
      {"pause",
       "hold when the running episode is over",
       {},
       [this](const Arguments&) {
         policy_loop_.set_paused(true);
         return Value();
       }},
      {"resume",
       "go on after a pause or a stop",
       {},
       [this](const Arguments&) {
         if (!policy_loop_.may_act()) {
           throw Error("there is no policy to go on with: the controller was started without one");
         }
         halted_ = false;
         policy_loop_.set_paused(false);
         return Value();
       }},
      {"end_episode",
       "end the running episode as truncated",
       {},
       [this](const Arguments&) {
         policy_loop_.end_episode();
         return Value();
       }},
      {"rollback",
       "act with an older policy of the store and stay with it; 0: the one before",
       {Parameter::integer("version", 0, std::numeric_limits<std::int64_t>::max())},
       [this](const Arguments& arguments) {
         const auto version = static_cast<std::uint64_t>(arguments.integer("version"));
         return verdict_value(policies_.rollback(version));
       },
       true},
      {"follow_learner",
       "take the learner's policies again after a rollback",
       {},
       [this](const Arguments&) {
         policies_.follow_learner();
         return Value();
       },
       true},
      record(),
      load_command(connection_, controller_),
  };
  for (CommandSpec& command : robot_commands_.commands()) commands.push_back(std::move(command));
  return commands;
}

}  // namespace serl_rt
