// Success by a classifier of images: what it decides, when it has nothing to say, what is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "idle_port.hpp"
#include "policy/environment.hpp"
#include "policy/reward_classifier.hpp"
#include "policy_support.hpp"

using namespace serl_rt;
using test::IdlePort;

namespace {

// Bytes on which the golden classifier's answer is no probability, and on which its run fails.
constexpr int kNan = 253;
constexpr int kTooMuch = 254;
constexpr int kBlind = 255;

Contract seeing() { return contract_from_json(test::golden_contract_text("seeing").first); }

// `patience`: more than a loaded machine needs for trial runs that end.
RewardClassifier load(const std::string& name, std::optional<double> threshold = {},
                      std::chrono::milliseconds patience = std::chrono::minutes(1)) {
  set_onnxruntime_hint(SERL_RT_TEST_ONNXRUNTIME);
  return {{test::golden(name + ".onnx"), threshold}, seeing(), patience};
}

// Every byte of an image is the value of its camera.
class FlatCameras final : public Cameras {
 public:
  const std::vector<CameraImage>& images() const noexcept override { return images_; }
  void read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept override {
    const std::size_t half = out.size() / 2;
    std::fill(out.begin(), out.begin() + half, static_cast<std::byte>(front));
    std::fill(out.begin() + half, out.end(), static_cast<std::byte>(wrist));
    std::fill(ages_ns.begin(), ages_ns.end(), age_ns);
  }

  int front = 0;
  int wrist = 0;
  std::int64_t age_ns = 0;

 private:
  std::vector<CameraImage> images_{{"front", 4, 6}, {"wrist", 4, 6}};
};

// Says what a test says.
class FixedTask final : public Task {
 public:
  void reset(std::uint64_t) override {}
  const std::vector<TaskField>& fields() const noexcept override { return fields_; }
  void observe(std::size_t, const State&, std::span<float>) const noexcept override {}
  void snapshot() noexcept override {}
  Outcome evaluate(const State&) const noexcept override { return outcome; }

  Outcome outcome{0.25, true, false};

 private:
  std::vector<TaskField> fields_;
};

// An environment of the golden classifier's contract.
struct Cell {
  explicit Cell(Task* task)
      : environment(seeing(), config(), fr3_limits(), port, task, &cameras, &classifier) {
    REQUIRE(environment.reset(0));
  }
  static EpisodeConfig config() {
    EpisodeConfig config;
    config.terminate_on_success = true;
    return config;
  }
  StepResult step(int front, int wrist = 0) {
    cameras.front = front;
    cameras.wrist = wrist;
    const std::vector<float> action(3, 0.5F);
    const auto result = environment.step(action, 1);
    REQUIRE(result);
    return *result;
  }

  RewardClassifier classifier = load("classifier_right");
  IdlePort port;
  FlatCameras cameras;
  Environment environment;
};

}  // namespace

TEST_CASE("a classifier's success is the reward and ends the episode, whatever the task says") {
  FixedTask task;
  Cell cell(&task);
  StepResult result = cell.step(127, 255);  // it does not see the wrist's
  CHECK(result.judged);
  CHECK_FALSE(result.success);
  CHECK_FALSE(result.terminated);
  CHECK(result.reward == 0.0F);

  result = cell.step(128);  // threshold 0.5
  CHECK(result.success);
  CHECK(result.terminated);
  CHECK(result.reward == 1.0F);

  task.outcome = {0.25, false, false};
  CHECK(cell.step(250).success);
  CHECK_FALSE(cell.step(2).success);
  CHECK(cell.environment.classifier_tally().agreements == 2);
  CHECK(cell.environment.classifier_tally().disagreements == 2);
  CHECK(cell.environment.classifier_tally().unjudged == 0);
}

TEST_CASE("a task's failure still ends the episode") {
  FixedTask task;
  task.outcome = {0.0, false, true};
  Cell cell(&task);
  const StepResult result = cell.step(0);
  CHECK(result.terminated);
  CHECK_FALSE(result.success);
}

TEST_CASE("stale images and failed runs are no success, and not to be learned from") {
  Cell cell(nullptr);
  cell.cameras.age_ns = 300'000'000;
  StepResult result = cell.step(250);
  CHECK_FALSE(result.judged);
  CHECK_FALSE(result.success);
  CHECK_FALSE(result.terminated);
  CHECK(result.reward == 0.0F);

  cell.cameras.age_ns = 0;
  for (const int byte : {kNan, kTooMuch, kBlind}) {
    result = cell.step(byte);
    CHECK_FALSE(result.judged);
    CHECK_FALSE(result.success);
  }
  CHECK(cell.environment.classifier_tally().unjudged == 4);

  result = cell.step(250);  // it goes on
  CHECK(result.judged);
  CHECK(result.success);
  CHECK(cell.environment.classifier_tally().agreements == 0);  // there was nothing to agree with
}

TEST_CASE("without a classifier the task decides") {
  FixedTask task;
  IdlePort port;
  FlatCameras cameras;
  Environment environment(seeing(), {}, fr3_limits(), port, &task, &cameras);
  REQUIRE(environment.reset(0));
  const auto result = environment.step(std::vector<float>(3, 0.5F), 1);
  REQUIRE(result);
  CHECK(result->reward == 0.25F);
  CHECK(result->success);
  CHECK(result->judged);
}

TEST_CASE("the threshold is the file's, or the task's") {
  CHECK(load("classifier_right").threshold() == 0.5);
  RewardClassifier strict = load("classifier_right", 0.9);
  CHECK(strict.threshold() == 0.9);
  std::vector<std::byte> images(seeing().image_bytes(), std::byte{200});
  CHECK(strict.success(images) == false);
  std::fill(images.begin(), images.end(), std::byte{240});
  CHECK(strict.success(images) == true);
  images.pop_back();
  CHECK_FALSE(strict.success(images));
}

TEST_CASE("a classifier that takes more than its share of the policy period is refused") {
  for (const char* part :
       {"classifier_slow.onnx: too slow: a run takes ",
        " ms, at 100.000000 Hz at most 2.500000 ms; train it on fewer cameras"}) {
    CHECK_THROWS_WITH_AS(load("classifier_slow"), doctest::Contains(part), Error);
  }
}

TEST_CASE("a trial run without an end is ended and refused") {
  CHECK_THROWS_WITH_AS(load("classifier_endless", {}, std::chrono::milliseconds(50)),
                       doctest::Contains("classifier_endless.onnx: too slow: its 5 trial runs did "
                                         "not end within 50 ms; train it on fewer cameras"),
                       Error);
}

TEST_CASE("what is no classifier of the task is refused with the file, the reason and a remedy") {
  const struct {
    const char* name;
    const char* reason;
  } cases[] = {
      {"classifier_no_kind", "not a reward classifier"},
      {"image_right", "make it with serl-rt classifier"},
      {"classifier_wrong_shape",
       "input is front uint8 (1, 5, 6, 3): must be front uint8 (1, 4, 6, 3)"},
      {"classifier_other_images", "trained on the images: front 8 x 8; task 'seeing' has"},
      {"classifier_wrong_output", "output success_probability float32 (1) is missing"},
      {"classifier_bad_threshold", "threshold '1' in its metadata"},
      {"classifier_no_probability", "must be from 0 to 1"},
      {"contract_seeing.txt", "cannot be read"},
  };
  for (const auto& [name, reason] : cases) {
    CAPTURE(name);
    CHECK_THROWS_WITH_AS(load(name), doctest::Contains(reason), Error);
    CHECK_THROWS_WITH_AS(load(name), doctest::Contains(name), Error);
  }
  set_onnxruntime_hint(SERL_RT_TEST_ONNXRUNTIME);
  const RewardClassifierConfig right{test::golden("classifier_right.onnx"), {}};
  CHECK_THROWS_WITH_AS(RewardClassifier(right, test::golden_contract()),
                       doctest::Contains("task 'golden' has the images: none"), Error);
}
