// How long a policy step takes: state -> observation -> ONNX Runtime -> action -> target. Once in a
// hot loop, where everything stays in the cache, and once at 1 kHz, where it does not: budget with
// the second. Prints one JSON object a line, microseconds per batch. Images are random ones.
//
// ONNX Runtime is found through SERL_RT_ONNXRUNTIME or the system's library path.
#include <pthread.h>
#include <sys/mman.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "drivers/random.hpp"
#include "policy/action.hpp"
#include "policy/noise.hpp"
#include "policy/observation.hpp"
#include "policy/policy_store.hpp"
#include "policy/session.hpp"

using namespace serl_rt;

namespace {

constexpr int kBatches = 7;
constexpr double kBatchSeconds = 1.0;
constexpr std::size_t kFewestRuns = 10;  // per batch
constexpr std::size_t kHotRuns = 4000;   // per batch, at most
constexpr std::size_t kLoopRuns = 1000;  // the same
constexpr int kRealtimePriority = 80;

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void sleep_until(std::int64_t time_ns) {
  const timespec wake{time_ns / 1'000'000'000, time_ns % 1'000'000'000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, nullptr);
}

// Gives every observation that the controller does not compute itself.
class ConstantTask : public Task {
 public:
  explicit ConstantTask(const Contract& contract) {
    for (const ObservationField& field : contract.observation) {
      const auto& known = computed_fields();
      if (std::none_of(known.begin(), known.end(),
                       [&](const ComputedField& c) { return c.name == field.name; })) {
        fields_.push_back({field.name, field.size()});
      }
    }
  }
  void reset(std::uint64_t) override {}
  const std::vector<TaskField>& fields() const noexcept override { return fields_; }
  void observe(std::size_t, const State&, std::span<float> out) const noexcept override {
    std::fill(out.begin(), out.end(), 0.1F);
  }
  void snapshot() noexcept override {}
  Outcome evaluate(const State&) const noexcept override { return {}; }

 private:
  std::vector<TaskField> fields_;
};

// One policy step, as the policy thread does it.
class Step {
 public:
  Step(PolicySession session, const Contract& contract)
      : session_(std::move(session)),
        task_(contract),
        builder_(contract, task_.fields()),
        mapper_(contract),
        observation_(builder_.size()),
        noise_(static_cast<std::size_t>(contract.action_dim())),
        action_(noise_.size()) {
    session_.bind(contract);
    for (const ImageField& image : contract.images) images_.resize(images_.size() + image.bytes());
    Random random(1);
    for (std::byte& value : images_) value = static_cast<std::byte>(random.next() >> 56U);
    state_.O_T_EE.position << 0.5, 0.0, 0.25;
    state_.O_T_EE.orientation = Quat(0.0, 1.0, 0.0, 0.0);
    builder_.reset(state_);
    mapper_.reset(state_);
  }

  // False: the action was refused.
  bool operator()() {
    state_.q[0] += 1e-6;
    builder_.build(state_, 1.0, gripper_, &task_, observation_);
    generator_.fill(noise_);
    if (!session_.run({observation_, noise_, images_}, action_)) return false;
    const MappedAction mapped = mapper_.map(action_, state_, gripper_);
    gripper_ = mapped.gripper_command;
    return !mapped.fault;
  }

 private:
  PolicySession session_;
  ConstantTask task_;
  ObservationBuilder builder_;
  ActionMapper mapper_;
  ExplorationNoise generator_{1};
  State state_;
  double gripper_ = 1.0;
  std::vector<float> observation_, noise_, action_;
  std::vector<std::byte> images_;
};

// Duration percentiles of each batch [us].
struct Series {
  std::vector<double> p50, p99, max;

  void add(std::vector<double> batch) {
    std::sort(batch.begin(), batch.end());
    p50.push_back(batch[batch.size() / 2]);
    p99.push_back(batch[batch.size() * 99 / 100]);
    max.push_back(batch.back());
  }
};

void print_list(const char* key, const std::vector<double>& values) {
  std::printf(", \"%s\": [", key);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::printf("%s%.2f", i == 0 ? "" : ", ", values[i]);
  }
  std::printf("]");
}

void print(const char* name, const Series& series, bool realtime) {
  std::printf(R"({"name": "%s", "unit": "us", "realtime": %s)", name, realtime ? "true" : "false");
  print_list("p50", series.p50);
  print_list("p99", series.p99);
  print_list("max", series.max);
  std::printf("}\n");
}

double microseconds(std::int64_t ns) { return 1e-3 * static_cast<double>(ns); }

// Runs of a batch: about a second, whatever a step takes.
std::size_t runs_of(Step& step, std::size_t most) {
  step();
  const std::int64_t begin = now_ns();
  step();
  const double seconds = 1e-9 * static_cast<double>(now_ns() - begin);
  return std::clamp(static_cast<std::size_t>(kBatchSeconds / seconds), kFewestRuns, most);
}

Series measure_hot(Step& step, int& refused) {
  Series series;
  const std::size_t runs = runs_of(step, kHotRuns);
  for (int batch = -1; batch < kBatches; ++batch) {  // the first one warms up
    std::vector<double> durations(runs);
    for (double& duration : durations) {
      const std::int64_t begin = now_ns();
      if (!step()) ++refused;
      duration = microseconds(now_ns() - begin);
    }
    if (batch >= 0) series.add(std::move(durations));
  }
  return series;
}

// At 1 kHz: the steps, and how late the sleep before each of them ended (the control).
std::pair<Series, Series> measure_loop(Step& step, int& refused) {
  std::pair<Series, Series> series;
  const std::size_t runs = runs_of(step, kLoopRuns);
  std::vector<double> durations(runs), wakeups(runs);
  std::int64_t wake = now_ns();
  for (int batch = 0; batch < kBatches; ++batch) {
    for (std::size_t i = 0; i < runs; ++i) {
      wake = std::max(wake + kTickNs, now_ns());
      sleep_until(wake);
      const std::int64_t begin = now_ns();
      if (!step()) ++refused;
      durations[i] = microseconds(now_ns() - begin);
      wakeups[i] = microseconds(begin - wake);
    }
    series.first.add(durations);
    series.second.add(wakeups);
  }
  return series;
}

bool become_realtime() {
  sched_param parameters{};
  parameters.sched_priority = kRealtimePriority;
  return mlockall(MCL_CURRENT | MCL_FUTURE) == 0 &&
         pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters) == 0;
}

int run(const std::string& model, bool hot_only) {
  PolicySession session(read_file(model));
  const Contract contract = contract_from_json(session.metadata("contract"));
  Step step(std::move(session), contract);
  int refused = 0;
  print("policy_hot_us", measure_hot(step, refused), false);
  if (!hot_only) {
    const bool realtime = become_realtime();
    const auto [loop, wakeup] = measure_loop(step, refused);
    print("policy_loop_us", loop, realtime);
    print("wakeup_us", wakeup, realtime);
  }
  if (refused > 0) std::fprintf(stderr, "%d actions were refused\n", refused);
  return refused > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string model;
  bool hot_only = false;
  CLI::App app("Measures how long a policy step takes");
  app.add_option("model", model, "the policy's ONNX file")->required();
  app.add_flag("--hot-only", hot_only, "not at 1 kHz, for policies that take longer");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(model, hot_only);
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_policy: %s\n", error.what());
    return 2;
  }
}
