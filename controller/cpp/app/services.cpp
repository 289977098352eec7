#include "app/services.hpp"

#include <limits>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

Value fault_counts(const FaultCounters& counters) {
  Value::Map counts;
  const FaultSnapshot snapshot = counters.snapshot();
  for (std::size_t i = 0; i < snapshot.size(); ++i) {
    if (snapshot[i].count == 0) continue;
    counts.emplace_back(std::string(to_string(static_cast<Fault>(i))), snapshot[i].count);
  }
  return counts;
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
                   ControlPort& port, Controller& controller, ControlLoop& loop,
                   PolicyManager& policies, PolicyLoop& policy_loop, FlightRecorder* recorder,
                   std::atomic<bool>& halted)
    : port_(port),
      controller_(controller),
      loop_(loop),
      policies_(policies),
      policy_loop_(policy_loop),
      recorder_(recorder),
      halted_(halted),
      gains_(controller.config().gains) {
  if (config.state_address != "none") publisher_.emplace(messaging, config.state_address);
  if (config.command_address != "none") {
    server_.emplace(std::move(messaging), config.command_address, commands());
  }
}

void Services::publish_state() {
  if (!publisher_) return;
  const ControllerStatus status = controller_.status();
  publisher_->publish(port_.state(), port_.gripper().opening(),
                      Value::Map{{"mode", to_string(status.mode)},
                                 {"stopped", status.stopped},
                                 {"ticks", status.ticks},
                                 {"policy_version", status.policy_version},
                                 {"episode", policy_loop_.episode()},
                                 {"steps", policy_loop_.steps()}});
}

Value Services::status() const {
  const ControllerStatus controller = controller_.status();
  const PolicyStatus policies = policies_.status();
  const LoopTiming timing = loop_.timing();
  return Value::Map{{"mode", to_string(controller.mode)},
                    {"stopped", controller.stopped},
                    {"paused", policy_loop_.paused()},
                    {"episode", policy_loop_.episode()},
                    {"steps", policy_loop_.steps()},
                    {"policy_version", policies.active_version},
                    {"policies_swapped", policies.swapped},
                    {"policies_refused", policies.refused},
                    {"last_refusal", clean_text(policies.last_refusal)},
                    {"ticks", timing.ticks},
                    {"late_ticks", timing.late_ticks},
                    {"faults", fault_counts(controller_.faults())},
                    {"recorder", recorder_value(recorder_)}};
}

CommandSpec Services::set_gains() {
  CommandSpec spec;
  spec.name = "set_gains";
  spec.summary = "change parameters of the impedance law; what is left out stays";
  for (const GainField& field : kGainFields) {
    spec.parameters.push_back(
        (field.scalar != nullptr
             ? Parameter::number(std::string(field.name), field.low, field.high)
             : Parameter::numbers(std::string(field.name), 3, field.low, field.high))
            .or_none());
  }
  spec.run = [this](const Arguments& arguments) {
    for (const GainField& field : kGainFields) {
      if (!arguments.has(field.name)) continue;
      if (field.scalar != nullptr) {
        gains_.*field.scalar = arguments.number(field.name);
      } else {
        gains_.*field.axes = Vec3(arguments.numbers(field.name).data());
      }
    }
    controller_.gains().write(gains_);
    return Value();
  };
  return spec;
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
  return spec;
}

std::vector<CommandSpec> Services::commands() {
  return {
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
      {"stop",
       "brake now, hold, and pause",
       {},
       [this](const Arguments&) {
         halted_ = true;  // first: a move that begins now sees it, or is stopped by the request
         controller_.request_stop();
         policy_loop_.set_paused(true);
         policy_loop_.end_episode();
         if (recorder_ != nullptr) recorder_->trigger("operator_stop");
         return Value();
       }},
      {"rollback",
       "act with an older policy of the store and stay with it; 0: the one before",
       {Parameter::integer("version", 0, std::numeric_limits<std::int64_t>::max())},
       [this](const Arguments& arguments) {
         const auto version = static_cast<std::uint64_t>(arguments.integer("version"));
         return verdict_value(policies_.rollback(version));
       }},
      {"follow_learner",
       "take the learner's policies again after a rollback",
       {},
       [this](const Arguments&) {
         policies_.follow_learner();
         return Value();
       }},
      set_gains(),
      record(),
  };
}

}  // namespace serl_rt
