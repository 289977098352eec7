#include "app/controller_app.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <utility>

#include "app/cameras.hpp"
#include "app/realtime.hpp"
#include "core/error.hpp"

namespace serl_rt {
namespace {

constexpr std::chrono::milliseconds kLookInterval{50};
constexpr double kProgressInterval_s = 5.0;
constexpr std::size_t kSuccessWindow = 20;  // episodes, for the progress line

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::filesystem::path store_folder(const Options& options, const TaskConfig& task) {
  if (!options.policies.empty()) return options.policies;
  return std::filesystem::path("runs") / "control" / task.name / "policies";
}

PolicyManagerOptions policy_options(const Options& options, const TaskConfig& task) {
  PolicyManagerOptions result;
  result.store = store_folder(options, task);
  return result;
}

PolicyLoopConfig loop_config(const Options& options) {
  return {options.seed,
          options.episodes,
          options.steps,
          options.evaluate_every,
          options.evaluations,
          options.noise_scale,
          !options.learner.empty(),
          options.manual};
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::unique_ptr<FlightRecorder> make_recorder(const Options& options, const TaskConfig& task,
                                              Controller& controller) {
  if (options.record == "off" || options.lockstep) return nullptr;
  RecorderConfig config;
  config.folder = options.record_folder.empty()
                      ? std::filesystem::path("runs") / "control" / task.name / "recordings"
                      : options.record_folder;
  config.before_s = options.record_before_s;
  config.after_s = options.record_after_s;
  config.continuous = options.record == "continuous";
  config.max_bytes = static_cast<std::uint64_t>(options.record_max_mb * 1e6);
  if (options.record_on.empty()) {
    for (const Fault fault : kDefaultTriggers) config.triggers.add(fault);
  } else {
    config.triggers = parse_triggers(options.record_on);
  }
  config.about = {{"task", task.name},
                  {"task_file", text_of(task.file)},
                  {"contract_id", task.contract.id()},
                  {"driver", options.driver}};
  return std::make_unique<FlightRecorder>(config, controller);
}

TaskConfig load_task(const Options& options) {
  TaskConfig task = load_task_config(find_task(options.task, options.tasks_dir),
                                     {options.reward, options.reward_classifier});
  task.gripper = chosen_gripper(options, task);
  return task;
}

TransitionLayout make_layout(const Environment& environment, const Contract& contract) {
  std::vector<TransitionLayout::Field> fields;
  for (const auto& slice : environment.builder().layout()) {
    fields.push_back({slice.name, slice.shape});
  }
  std::vector<TransitionLayout::Field> images;
  for (const ImageField& image : contract.images) {
    images.push_back({image.name, {image.height, image.width, 3}});
  }
  return {fields, contract.action_dim(), images};
}

}  // namespace

ControllerApp::ControllerApp(const Options& options)
    : options_(options),
      task_(load_task(options)),
      started_s_(now_s()),
      robot_(make_robot(options, task_)),
      controller_(task_.controller),
      recorder_(make_recorder(options, task_, controller_)),
      loop_(*robot_.driver, controller_),
      connection_(*robot_.driver, loop_, controller_, task_.recovery, task_.robot.load),
      port_(options.lockstep ? std::unique_ptr<ControlPort>(std::make_unique<LockstepPort>(
                                   loop_, controller_, *robot_.gripper,
                                   task_.contract.policy_rate_hz, stop_policy_))
                             : std::make_unique<RealtimePort>(
                                   connection_, loop_, controller_, *robot_.gripper,
                                   task_.contract.policy_rate_hz, stop_policy_, halted_)),
      realtime_port_(dynamic_cast<RealtimePort*>(port_.get())),
      messaging_(Messaging::create(options.keys)),
      receiver_(make_receiver()),
      classifier_(make_reward_classifier(task_)),
      environment_(task_.contract, task_.episode, task_.controller.limits, *port_,
                   robot_.task.get(), receiver_ != nullptr ? receiver_.get() : robot_.cameras.get(),
                   classifier_.get()),
      policies_(task_.contract, policy_options(options, task_)),
      link_(make_link()),
      sink_(link_.get(), options.lockstep, stop_policy_),
      policy_loop_(environment_, policies_, sink_, controller_, loop_config(options),
                   task_.contract, stop_policy_),
      services_(messaging_, {options.state_address, options.command_address}, task_,
                *robot_.gripper, controller_, loop_, connection_, policies_, policy_loop_,
                recorder_.get(), halted_) {
  load_first_policy();
}

ControllerApp::~ControllerApp() { stop(); }

void ControllerApp::load_first_policy() {
  if (options_.policy.empty()) {
    if (link_ != nullptr || options_.manual) return;
    const PolicyVerdict verdict = policies_.load_last_good();
    if (!verdict.accepted) {
      throw Error("there is no policy to act with: give --learner, --policy or --manual (" +
                  verdict.reason + ")");
    }
    return;
  }
  const PolicyVerdict verdict = policies_.load_file(options_.policy);
  if (!verdict.accepted) {
    throw Error(options_.policy.string() + ": the policy is refused: " + verdict.reason);
  }
}

std::unique_ptr<CameraReceiver> ControllerApp::make_receiver() {
  if (options_.cameras.empty() || task_.contract.images.empty()) return nullptr;
  return std::make_unique<CameraReceiver>(messaging_, options_.cameras,
                                          wanted_images(task_.contract));
}

std::unique_ptr<Link> ControllerApp::make_link() {
  if (options_.learner.empty()) return nullptr;
  LinkConfig config;
  config.endpoint = options_.learner;
  config.contract_id = task_.contract.id();
  config.task = task_.name;
  config.lockstep = options_.lockstep;
  return std::make_unique<Link>(
      messaging_, config, make_layout(environment_, task_.contract),
      [this](const ReceivedPolicy& policy) { return receive_policy(policy); });
}

PolicyOutcome ControllerApp::receive_policy(const ReceivedPolicy& policy) {
  if (!options_.policy.empty()) return {false, "this controller acts with a fixed policy", 0.0};
  if (policy.new_learner) policies_.new_learner();
  const PolicyVerdict verdict =
      policies_.offer({policy.version, policy.data.size(), policy.sha256, policy.data});
  return {verdict.accepted, verdict.reason, verdict.swap_ms};
}

void ControllerApp::start_control_thread() {
  const std::vector<std::string> process = prepare_process();
  not_granted_.insert(not_granted_.end(), process.begin(), process.end());
  if (options_.driver != "sim") {
    for (const std::string& sentence : check_kernel()) not_granted_.push_back(sentence);
  }
  control_thread_ = std::thread([this] { run_control_thread(); });
  // The policy begins with a state that the robot has reported.
  while (loop_.timing().ticks == 0 && !driver_lost_) std::this_thread::sleep_for(kLookInterval);
}

void ControllerApp::run_control_thread() {
  (void)warm_up_control(task_.controller);
  bool warned = false;
  // Again after each start of the robot: a driver may have changed the thread's scheduling.
  const auto prepare = [&] {
    const auto missing = prepare_control_thread({options_.rt_priority, options_.cpu});
    if (std::exchange(warned, true)) return;
    const std::scoped_lock lock(mutex_);
    not_granted_.insert(not_granted_.end(), missing.begin(), missing.end());
    for (const std::string& sentence : not_granted_) warn(sentence);
  };
  const auto on_loss = [this](const Trouble& trouble) {
    if (recorder_ != nullptr) recorder_->driver_lost(loss_name(trouble), trouble.what);
  };
  const auto on_person = [this] { services_.halt("user_stop"); };
  if (!connection_.run(stop_control_, {prepare, on_loss, on_person})) driver_lost_ = true;
}

void ControllerApp::run_policy_thread() {
  try {
    policy_loop_.run([this](const EpisodeResult& result) {
      const std::scoped_lock lock(mutex_);
      episodes_.push_back(result);
    });
    if (options_.lockstep && !stop_policy_) {
      // The loop ended by itself: either its work is done or the robot is gone.
      driver_lost_ = controller_.faults().count(Fault::kDriverLost) > 0;
    }
    acknowledged_ = drain();
  } catch (const std::exception& error) {
    const std::scoped_lock lock(mutex_);
    policy_failure_ = error.what();
  }
  policy_done_ = true;
}

bool ControllerApp::drain() {
  if (link_ == nullptr) return true;
  const double deadline_s = now_s() + options_.drain_timeout_s;
  do {
    if (link_->drain(kLookInterval)) return true;
  } while (now_s() < deadline_s && !abandon_);
  return false;
}

Summary ControllerApp::run(const SignalGuard& signals) {
  std::optional<LowLatencyRequest> latency;
  if (!options_.lockstep) {
    latency.emplace();
    not_granted_ = latency->missing();
    start_control_thread();
  }
  policy_thread_ = std::thread([this] { run_policy_thread(); });
  double next_progress_s = now_s() + kProgressInterval_s;
  while (!policy_done_ && !driver_lost_) {
    if (signals.wait(kLookInterval)) {
      if (stop_policy_) abandon_ = true;  // asked twice
      stop_policy_ = true;
    }
    policies_.collect();
    report();
    if (link_ != nullptr && !link_->stats().failure.empty()) stop_policy_ = true;
    if (now_s() >= next_progress_s) {
      report_progress();
      next_progress_s += kProgressInterval_s;
    }
  }
  stop();
  if (recorder_ != nullptr) console_.tell(recorder_->status());
  if (!policy_failure_.empty()) throw Error(policy_failure_);
  if (driver_lost_) throw Error("--driver " + options_.driver + ": " + connection_.failure());
  return summarise();
}

void ControllerApp::stop() {
  stop_policy_ = true;
  if (policy_thread_.joinable()) policy_thread_.join();
  stop_control_ = true;  // the control loop brakes before it returns
  if (control_thread_.joinable()) control_thread_.join();
  if (recorder_ != nullptr) recorder_->finish();
}

void ControllerApp::report() {
  console_.tell(policies_.status());
  if (receiver_ != nullptr) console_.tell(receiver_->stats());
  if (link_ != nullptr) console_.tell(link_->stats());
  if (recorder_ != nullptr) console_.tell(recorder_->status());
}

void ControllerApp::report_progress() {
  if (options_.quiet) return;
  std::size_t count = 0;
  std::size_t successes = 0;
  {
    const std::scoped_lock lock(mutex_);
    for (auto it = episodes_.rbegin(); it != episodes_.rend() && count < kSuccessWindow; ++it) {
      ++count;
      successes += it->success ? 1U : 0U;
    }
  }
  const LoopTiming timing = loop_.timing();
  std::fprintf(stderr,
               "[control] %7.1f s  episodes %u  steps %llu  success %zu/%zu  policy v%llu  "
               "tick p50 %.1f us p99 %.1f us  late %llu%s\n",
               now_s() - started_s_, policy_loop_.episode(),
               static_cast<unsigned long long>(policy_loop_.steps()), successes, count,
               static_cast<unsigned long long>(policies_.status().active_version),
               static_cast<double>(timing.compute.percentile(0.5)) * 1e-3,
               static_cast<double>(timing.compute.percentile(0.99)) * 1e-3,
               static_cast<unsigned long long>(timing.late_ticks),
               link_ != nullptr && !link_->stats().connected ? "  (no learner)" : "");
}

Summary ControllerApp::summarise() const {
  Summary summary;
  summary.task = task_.name;
  summary.contract_id = task_.contract.id();
  summary.pacing = options_.lockstep ? "lockstep" : "realtime";
  summary.seed = options_.seed;
  summary.wall_s = now_s() - started_s_;
  summary.steps = policy_loop_.steps();
  summary.late_steps = realtime_port_ == nullptr ? 0 : realtime_port_->late_steps();
  summary.timing = loop_.timing();
  summary.robot = connection_.status();
  summary.faults = controller_.faults().snapshot();
  summary.policies = policies_.status();
  if (classifier_ != nullptr) summary.classifier = environment_.classifier_tally();
  if (link_ != nullptr) summary.link = link_->stats();
  summary.acknowledged = acknowledged_;
  const std::scoped_lock lock(mutex_);
  summary.episodes = episodes_;
  summary.not_granted = not_granted_;
  return summary;
}

}  // namespace serl_rt
