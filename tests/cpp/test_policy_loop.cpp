// What the policy loop sends of an episode in which a reward classifier judges.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/policy_loop.hpp"
#include "idle_port.hpp"
#include "link/transition_queue.hpp"
#include "policy/cpu_time.hpp"
#include "policy_support.hpp"

using namespace serl_rt;

namespace {

// Of an image with this byte the golden classifiers say NaN, 1.5, and nothing: their run fails.
constexpr int kNan = 253;
constexpr int kTooMuch = 254;
constexpr int kBlind = 255;
constexpr int kSuccess = 250;

// What loads the first model knows by then where ONNX Runtime is.
Contract seeing() {
  set_onnxruntime_hint(SERL_RT_TEST_ONNXRUNTIME);
  return contract_from_json(test::golden_contract_text("seeing").first);
}

// Every byte of the images that are read next is the script's next value.
class ScriptedCameras final : public Cameras {
 public:
  explicit ScriptedCameras(std::vector<int> script) : script_(std::move(script)) {}
  const std::vector<CameraImage>& images() const noexcept override { return images_; }
  void read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept override {
    std::fill(out.begin(), out.end(), static_cast<std::byte>(script_[next_]));
    next_ = std::min(next_ + 1, script_.size() - 1);
    std::fill(ages_ns.begin(), ages_ns.end(), 0);
  }

 private:
  std::vector<CameraImage> images_{{"front", 4, 6}, {"wrist", 4, 6}};
  std::vector<int> script_;
  std::size_t next_ = 0;
};

// Keeps what is sent as the link does on its way to the learner.
class QueueSink final : public TransitionSink {
 public:
  bool wait_until_allowed() override { return true; }
  bool push(const Transition& transition, const StepImages& images) override {
    return queue.push(transition, images);
  }

  TransitionQueue queue{{{{"gripper", {1}}}, 3, {{"front", {4, 6, 3}}, {"wrist", {4, 6, 3}}}}};
};

struct Sent {
  std::uint32_t step;
  float reward;
  bool ends;
  std::optional<int> before;  // byte of the images that came along; none: the last one's `after`
  int after;

  bool operator==(const Sent&) const = default;
};

// One episode of the loop, or more, with a golden policy and a golden classifier.
struct Episode {
  Episode(const std::string& classifier_name, std::vector<int> script,
          const PolicyLoopConfig& loop_config = {.episodes = 1})
      : classifier({test::golden(classifier_name + ".onnx"), {}}, contract, kPatience),
        cameras(std::move(script)),
        environment(contract, config(), fr3_limits(), port, nullptr, &cameras, &classifier),
        policies(contract, manager_options()) {
    REQUIRE(policies.load_file(test::golden("image_right.onnx")).accepted);
    PolicyLoop loop(environment, policies, sink, controller, loop_config, contract, stop);
    loop.run([this](const EpisodeResult& its) {
      result = its;
      evaluations.push_back(its.evaluation);
    });
  }

  std::vector<Sent> sent() {
    std::vector<Sent> all;
    const auto byte = [](BytesView image) { return std::to_integer<int>(image.front()); };
    while (sink.queue.pop([&](const Transition& transition, const StepImages& images) {
      std::optional<int> before;
      if (!images.observation.empty()) before = byte(images.observation);
      all.push_back({transition.step, transition.reward,
                     transition.terminated || transition.truncated, before, byte(images.next)});
    })) {
    }
    return all;
  }

  static EpisodeConfig config() {
    EpisodeConfig config;
    config.terminate_on_success = true;
    return config;
  }
  static PolicyManagerOptions manager_options() {
    PolicyManagerOptions options;
    options.verify.patience = kPatience;
    return options;
  }
  // More than a loaded machine needs for trial runs that end.
  static constexpr std::chrono::milliseconds kPatience = std::chrono::minutes(1);

  const Contract contract = seeing();
  RewardClassifier classifier;
  test::IdlePort port;
  ScriptedCameras cameras;
  Environment environment;
  PolicyManager policies;
  QueueSink sink;
  Controller controller{ControllerConfig{}};
  std::atomic<bool> stop = false;
  EpisodeResult result;  // of the last one
  std::vector<bool> evaluations;
};

}  // namespace

TEST_CASE("of an episode exactly the steps that a classifier could not judge are not sent") {
  Episode episode("classifier_right",
                  {1, 10, 20, kNan, 30, 31, kTooMuch, kBlind, 40, kBlind, kSuccess});
  // After a gap the images that a transition began with come along.
  const std::vector<Sent> expected = {
      {0, 0.0F, false, 1, 10},  {1, 0.0F, false, {}, 20},     {3, 0.0F, false, kNan, 30},
      {4, 0.0F, false, {}, 31}, {7, 0.0F, false, kBlind, 40}, {9, 1.0F, true, kBlind, kSuccess},
  };
  CHECK(episode.sent() == expected);
  CHECK(episode.result.steps == 10);
  CHECK(episode.result.success);
  CHECK(episode.result.episode_return == 1.0);
  CHECK(episode.port.targets == 10);  // the arm was moved all the same
  CHECK(episode.environment.classifier_tally().unjudged == 4);
  CHECK(episode.sink.queue.refused() == 0);
}

TEST_CASE("a policy's time counts together with the time of the classifier before it") {
  // The last policy of the episode acts on the image that the classifier is slow with.
  Episode episode("classifier_slow_at_100", {1, 2, 100, kSuccess});
  const FaultCount late =
      episode.controller.faults().snapshot()[static_cast<std::size_t>(Fault::kPolicyLate)];
  const std::vector<std::byte> image(episode.contract.image_bytes(), std::byte{100});
  const double begin = thread_cpu_seconds();
  REQUIRE(episode.classifier.success(image));
  const double alone = thread_cpu_seconds() - begin;
  REQUIRE(alone > 1.0 / episode.contract.policy_rate_hz);
  CHECK(late.count >= 1);
  CHECK(late.value > 0.5 * alone);
}

TEST_CASE("the last episodes of every few act without noise") {
  const auto evaluations = [](int every, int count) {
    Episode episodes("classifier_right", {kSuccess},
                     {.episodes = 7, .evaluate_every = every, .evaluations = count});
    return episodes.evaluations;
  };
  using Flags = std::vector<bool>;
  CHECK(evaluations(0, 1) == Flags{false, false, false, false, false, false, false});
  CHECK(evaluations(1, 1) == Flags{true, true, true, true, true, true, true});
  CHECK(evaluations(3, 1) == Flags{false, false, true, false, false, true, false});
  CHECK(evaluations(3, 2) == Flags{false, true, true, false, true, true, false});
}
