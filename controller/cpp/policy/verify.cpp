#include "policy/verify.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.hpp"
#include "drivers/random.hpp"
#include "policy/action.hpp"
#include "policy/cpu_time.hpp"
#include "policy/noise.hpp"
#include "policy/sha256.hpp"
#include "policy/watchdog.hpp"

namespace serl_rt {
namespace {

constexpr std::uint64_t kProbeSeed = 1;
constexpr int kFewestRuns = 5;  // of a slow network, whose warm-up would take too long otherwise
constexpr double kWarmupSeconds = 0.1;  // enough warm-up for a slow network

void check_bytes(const PolicyOffer& offer) {
  if (offer.bytes.size() != offer.size) {
    throw Error("policy: " + std::to_string(offer.bytes.size()) + " bytes arrived, " +
                std::to_string(offer.size) + " were announced");
  }
  if (const std::string found = sha256_hex(offer.bytes); found != offer.sha256) {
    throw Error("policy: damaged: its SHA-256 is " + found + ", announced was " + offer.sha256);
  }
}

void check_contract(const PolicySession& session, const Contract& contract) {
  const std::string found = session.metadata("contract_id");
  const std::string text = session.metadata("contract");
  const std::string mine = contract.id();
  if (found.empty() || text.empty()) {
    throw Error("policy: no contract in its metadata; export it with serl-rt");
  }
  if (found != mine) {
    throw Error("policy: made for contract " + found + ", but task '" + contract.name + "' has " +
                mine + "; train and control must use the same task file");
  }
  if (sha256_hex(text) != found) {
    throw Error("policy: its contract does not have the id that its metadata says");
  }
}

void check_version(const PolicySession& session, std::uint64_t announced) {
  const std::string found = session.metadata("version");
  if (found != std::to_string(announced)) {
    throw Error("policy: version '" + found + "' in its metadata, " + std::to_string(announced) +
                " announced");
  }
}

// Probe observations: the middle and the ends of the expected range, then points within it.
class Probe {
 public:
  explicit Probe(const Contract& contract) {
    for (const ObservationField& field : contract.observation) {
      low_.insert(low_.end(), field.low.begin(), field.low.end());
      high_.insert(high_.end(), field.high.begin(), field.high.end());
    }
    images.resize(contract.image_bytes());
    observation.resize(low_.size());
    noise.resize(static_cast<std::size_t>(contract.action_dim()));
  }

  void next() {
    constexpr double kEnds[] = {0.5, 0.0, 1.0};
    for (std::size_t i = 0; i < low_.size(); ++i) {
      const double at = count_ < std::size(kEnds) ? kEnds[count_] : random_.uniform(0.0, 1.0);
      observation[i] = static_cast<float>(low_[i] + at * (high_[i] - low_[i]));
    }
    for (std::byte& value : images) value = static_cast<std::byte>(random_.next() >> 56U);
    // Every other run without noise: the deterministic action is used as well.
    generator_.fill(noise, count_ % 2 == 0 ? 0.0 : 1.0);
    ++count_;
  }

  PolicyInput input() const noexcept { return {observation, noise, images}; }

  std::vector<float> observation;
  std::vector<float> noise;
  std::vector<std::byte> images;

 private:
  std::vector<double> low_, high_;
  Random random_{kProbeSeed};
  ExplorationNoise generator_{kProbeSeed};
  std::size_t count_ = 0;
};

void check_action(std::span<const float> action) {
  for (std::size_t i = 0; i < action.size(); ++i) {
    if (!std::isfinite(action[i]) || std::abs(action[i]) > 1.0F + kActionTolerance) {
      throw Error("policy: action[" + std::to_string(i) + "] = " + std::to_string(action[i]) +
                  " on a probe observation: must be finite and in [-1, 1]");
    }
  }
}

void check_duration(const char* what, double seconds, double fraction, const Contract& contract) {
  const double allowed = fraction / contract.policy_rate_hz;
  if (seconds > allowed) {
    throw Error("policy: too slow: its " + std::string(what) + " run takes " +
                std::to_string(1e3 * seconds) + " ms, at " +
                std::to_string(contract.policy_rate_hz) + " Hz at most " +
                std::to_string(1e3 * allowed) + " ms");
  }
}

// The runs' durations without the first, which also builds ONNX Runtime's memory plan.
std::vector<double> measure(PolicySession& session, const Contract& contract,
                            const VerifyOptions& options) {
  Probe probe(contract);
  std::vector<float> action(static_cast<std::size_t>(contract.action_dim()));
  std::vector<double> durations;
  Watchdog watchdog(session, options.patience);
  double total = 0.0;
  for (int i = 0; i < options.warmup_runs && (i < kFewestRuns || total < kWarmupSeconds); ++i) {
    probe.next();
    const double begin = thread_cpu_seconds();
    const bool ran = session.run(probe.input(), action);
    const double duration = thread_cpu_seconds() - begin;
    if (!ran) {
      if (watchdog.stop()) break;
      throw Error("policy: a run on a probe observation failed");
    }
    check_action(action);
    if (i > 0) durations.push_back(duration);
    total += duration;
  }
  if (watchdog.stop()) {
    throw Error("policy: too slow: its warm-up did not end within " +
                std::to_string(options.patience.count()) + " ms");
  }
  return durations;
}

void warm_up(PolicySession& session, const Contract& contract, const VerifyOptions& options) {
  std::vector<double> durations = measure(session, contract, options);
  std::sort(durations.begin(), durations.end());
  check_duration("median", durations[durations.size() / 2], options.median_fraction, contract);
  check_duration("longest", durations.back(), options.longest_fraction, contract);
}

}  // namespace

std::unique_ptr<Policy> verify_policy(const PolicyOffer& offer, const Contract& contract,
                                      const VerifyOptions& options) {
  check_bytes(offer);
  PolicySession session(offer.bytes);
  check_contract(session, contract);
  check_version(session, offer.version);
  session.bind(contract);
  warm_up(session, contract, options);
  return std::make_unique<Policy>(std::move(session), offer.version);
}

}  // namespace serl_rt
