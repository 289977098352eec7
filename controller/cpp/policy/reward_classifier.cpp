#include "policy/reward_classifier.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "core/error.hpp"
#include "policy/cpu_time.hpp"
#include "policy/policy_store.hpp"
#include "policy/tensors.hpp"

namespace serl_rt {
namespace {

constexpr const char* kKind = "reward_classifier";
constexpr int kTrials = 5;
constexpr const char* kFaster = "; train it on fewer cameras or with a smaller encoder";
constexpr double kPeriodFraction = 0.25;  // of the policy period for a median run; a policy has 0.5

bool is_probability(float value) noexcept { return value >= 0.0F && value <= 1.0F; }

std::string trouble(const RewardClassifierConfig& config) {
  return "reward classifier " + config.model.string();
}

// "front 72 x 72": as the exporter writes it.
std::string describe(const ImageField& image) {
  return image.name + " " + std::to_string(image.height) + " x " + std::to_string(image.width);
}

template <typename Images>
std::string describe_all(const Images& images) {
  std::string text;
  for (const ImageField& image : images) text += (text.empty() ? "" : ", ") + describe(image);
  return text.empty() ? "none" : text;
}

}  // namespace

RewardClassifier::RewardClassifier(const RewardClassifierConfig& config, const Contract& contract,
                                   std::chrono::milliseconds patience)
    : what_(trouble(config)), model_(read_file(config.model), what_) {
  check_kind();
  bind(contract);
  read_threshold(config.threshold);
  try_out(contract, patience);
}

void RewardClassifier::check_kind() const {
  if (model_.metadata("kind") == kKind) return;
  throw Error(what_ + ": not a reward classifier: its metadata has no kind = " + kKind +
              "; make it with serl-rt classifier");
}

// It may see fewer cameras than the policy.
void RewardClassifier::bind(const Contract& contract) {
  const std::vector<Tensor> found = model_.inputs();
  const Tensor output{"success_probability", {1}, Element::kFloat};
  images_.resize(contract.image_bytes());
  std::vector<Tensor> expected;
  std::vector<ImageField> seen;
  std::vector<std::byte*> places;
  std::byte* at = images_.data();
  for (const ImageField& image : contract.images) {
    if (std::any_of(found.begin(), found.end(),
                    [&](const Tensor& tensor) { return tensor.name == image.name; })) {
      expected.push_back(image_tensor(image));
      seen.push_back(image);
      places.push_back(at);
    }
    at += image.bytes();
  }
  const std::string remedy = "; task '" + contract.name +
                             "' has the images: " + describe_all(contract.images) +
                             "; train it with serl-rt classifier --task for this task";
  try {
    check_tensors(what_ + ": input", found, expected);
    check_tensors(what_ + ": output", model_.outputs(), {output});
  } catch (const Error& error) {
    throw Error(error.what() + remedy);
  }
  const std::string trained = model_.metadata("images");
  if (expected.empty() || trained != describe_all(seen)) {
    throw Error(what_ + ": trained on the images: " + (trained.empty() ? "unknown" : trained) +
                remedy);
  }
  for (std::size_t i = 0; i < expected.size(); ++i) model_.bind_input(expected[i], places[i]);
  model_.bind_output(output, &probability_);
}

void RewardClassifier::read_threshold(const std::optional<double>& chosen) {
  const std::string text = model_.metadata("threshold");
  const char* end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, threshold_);
  if (problem != std::errc() || rest != end || !(threshold_ > 0.0 && threshold_ < 1.0)) {
    throw Error(what_ + ": threshold '" + text +
                "' in its metadata: must be between 0 and 1; make it again with serl-rt "
                "classifier");
  }
  if (chosen) threshold_ = *chosen;
}

// CPU time [s] of each run on a trial image. Also lets ONNX Runtime plan its memory, before
// anything moves.
std::vector<double> RewardClassifier::trials(std::chrono::milliseconds patience) {
  std::vector<double> durations;
  Watchdog watchdog(model_, patience);
  for (int i = 0; i < kTrials; ++i) {
    std::fill(images_.begin(), images_.end(), static_cast<std::byte>(i * 63));
    const double begin = thread_cpu_seconds();
    const bool ran = model_.run();
    durations.push_back(thread_cpu_seconds() - begin);
    if (!ran) {
      if (watchdog.stop()) break;
      throw Error(what_ + ": a run on a trial image failed; train it again");
    }
    if (!is_probability(probability_)) {
      throw Error(what_ + ": success_probability = " + std::to_string(probability_) +
                  " on a trial image: must be from 0 to 1; train it again");
    }
  }
  if (watchdog.stop()) {
    throw Error(what_ + ": too slow: its " + std::to_string(kTrials) +
                " trial runs did not end within " + std::to_string(patience.count()) + " ms" +
                kFaster);
  }
  return durations;
}

void RewardClassifier::try_out(const Contract& contract, std::chrono::milliseconds patience) {
  std::vector<double> durations = trials(patience);
  std::sort(durations.begin(), durations.end());
  const double median = durations[kTrials / 2];
  const double allowed = kPeriodFraction / contract.policy_rate_hz;
  if (median > allowed) {
    throw Error(what_ + ": too slow: a run takes " + std::to_string(1e3 * median) + " ms, at " +
                std::to_string(contract.policy_rate_hz) + " Hz at most " +
                std::to_string(1e3 * allowed) + " ms" + kFaster);
  }
}

std::optional<bool> RewardClassifier::success(std::span<const std::byte> images) noexcept {
  if (images.size() != images_.size()) return std::nullopt;
  std::memcpy(images_.data(), images.data(), images.size());
  if (!model_.run() || !is_probability(probability_)) return std::nullopt;
  return static_cast<double>(probability_) >= threshold_;
}

}  // namespace serl_rt
