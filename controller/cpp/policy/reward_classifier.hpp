// Decides success from images: a learned reward, for a task that nothing else can judge.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/contract.hpp"
#include "policy/onnx_model.hpp"
#include "policy/watchdog.hpp"

namespace serl_rt {

// The [reward_classifier] table of a task file.
struct RewardClassifierConfig {
  std::filesystem::path model;      // as serl-rt classifier writes it
  std::optional<double> threshold;  // least probability of success; unset: the model's own
};

// Belongs to one thread, the policy's.
class RewardClassifier {
 public:
  // Loads, checks and tries the model. Throws Error that names the file, what is wrong and what to
  // do: not a classifier, images that are not the contract's, answers that are not probabilities,
  // too slow for the policy rate, or not done with its trial runs after `patience`.
  RewardClassifier(const RewardClassifierConfig& config, const Contract& contract,
                   std::chrono::milliseconds patience = kTrialPatience);
  RewardClassifier(const RewardClassifier&) = delete;  // the model writes into this very object
  RewardClassifier& operator=(const RewardClassifier&) = delete;

  // Whether the contract's images, one after the other, show success; empty: the run failed.
  // ONNX Runtime allocates a little inside.
  std::optional<bool> success(std::span<const std::byte> images) noexcept;

  double threshold() const noexcept { return threshold_; }

 private:
  void check_kind() const;
  void bind(const Contract& contract);
  void read_threshold(const std::optional<double>& chosen);
  void try_out(const Contract& contract, std::chrono::milliseconds patience);
  std::vector<double> trials(std::chrono::milliseconds patience);

  std::string what_;  // begins every error
  OnnxModel model_;
  std::vector<std::byte> images_;  // the contract's; an input is a slice of it
  float probability_ = 0.0F;
  double threshold_ = 0.0;
};

}  // namespace serl_rt
