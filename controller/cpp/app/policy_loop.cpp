#include "app/policy_loop.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <thread>

#include "core/error.hpp"
#include "drivers/random.hpp"

namespace serl_rt {
namespace {

// How long a loop that has nothing to do sleeps at most.
constexpr double kLongestIdle_s = 0.02;

// Separates the random streams of one seed.
constexpr std::uint64_t kNoiseStream = 0x6e6f697365U;

std::uint64_t episode_seed(std::uint64_t seed, std::uint32_t episode) {
  return Random(seed ^ (std::uint64_t{episode} << 32U)).next();
}

}  // namespace

PolicyLoop::PolicyLoop(Environment& environment, PolicyManager& policies, TransitionSink& sink,
                       Controller& controller, const PolicyLoopConfig& config,
                       const Contract& contract, const std::atomic<bool>& stop)
    : environment_(environment),
      policies_(policies),
      sink_(sink),
      controller_(controller),
      faults_(controller.faults()),
      config_(config),
      stop_(stop),
      period_s_(1.0 / contract.policy_rate_hz),
      idle_(std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::duration<double>(std::min(period_s_, kLongestIdle_s)))),
      noise_generator_(Random(config.seed ^ kNoiseStream).next()),
      noise_(static_cast<std::size_t>(contract.action_dim())),
      action_(noise_.size()),
      paused_(config.start_paused) {
  if (config.start_paused) controller_.set_in_charge(Source::kOperator);
}

bool PolicyLoop::limit_reached() const noexcept {
  return (config_.episodes > 0 && episode() >= config_.episodes) ||
         (config_.steps > 0 && steps() >= config_.steps);
}

bool PolicyLoop::wait_for_start() {
  while (!stop_.load(std::memory_order_relaxed)) {
    const bool paused = paused_.load(std::memory_order_relaxed);
    controller_.set_in_charge(paused ? Source::kOperator : Source::kPolicy);
    if (!paused && policies_.acquire() != nullptr && environment_.ready()) return true;
    std::this_thread::sleep_for(idle_);  // the arm holds meanwhile
  }
  return false;
}

bool PolicyLoop::is_evaluation(std::uint32_t episode) const noexcept {
  if (config_.evaluate_every == 0) return false;
  const auto cycle = static_cast<std::uint32_t>(config_.evaluate_every);
  return episode % cycle + static_cast<std::uint32_t>(config_.evaluations) >= cycle;
}

void PolicyLoop::run(const std::function<void(const EpisodeResult&)>& on_episode) {
  while (!limit_reached() && wait_for_start()) {
    EpisodeResult result;
    result.episode = episode();
    result.evaluation = is_evaluation(result.episode);
    if (!run_episode(result)) return;
    episode_.fetch_add(1, std::memory_order_relaxed);
    if (result.steps > 0) on_episode(result);
  }
}

bool PolicyLoop::run_episode(EpisodeResult& result) {
  end_episode_.store(false, std::memory_order_relaxed);
  // Before the reset, so that an arm that waits for its learner does so in hold, not mid-episode.
  if (!sink_.wait_until_allowed()) return false;
  if (!environment_.reset(episode_seed(config_.seed, result.episode))) return false;
  bool done = paused() || !environment_.ready();  // on the way to the start: wait there
  while (!done) {
    if (!sink_.wait_until_allowed()) return false;
    if (!step(result, done)) return false;
  }
  return true;
}

bool PolicyLoop::act(bool evaluation, std::uint64_t& version) {
  // Drawn in evaluation episodes, too, so that their number does not change the others.
  noise_generator_.fill(noise_, config_.noise_scale);
  if (evaluation) std::fill(noise_.begin(), noise_.end(), 0.0F);
  const auto begin = std::chrono::steady_clock::now();
  const Policy* policy = policies_.acquire();
  version = policy->version();
  const bool ran =
      environment_.images_fresh() &&
      policy->session().run({environment_.observation(), noise_, environment_.images()}, action_);
  const std::chrono::duration<double> ran_for = std::chrono::steady_clock::now() - begin;
  const double took_s = environment_.judging_s() + ran_for.count();  // both between two targets
  if (took_s > period_s_) faults_.raise(Fault::kPolicyLate, took_s, period_s_);
  return ran;
}

void PolicyLoop::intervene(std::span<const double> action, double valid_s) {
  if (action.size() != action_.size()) {
    throw Error("an action has " + std::to_string(action_.size()) + " components, not " +
                std::to_string(action.size()));
  }
  Intervention intervention;
  for (std::size_t i = 0; i < action.size(); ++i) {
    if (!(std::abs(action[i]) <= 1.0)) {
      throw Error("action[" + std::to_string(i) + "] = " + std::to_string(action[i]) +
                  " is outside [-1, 1]");
    }
    intervention.action[i] = static_cast<float>(action[i]);
  }
  intervention.until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(valid_s));
  interventions_.write(intervention);
}

// A person's action that is still valid takes the place of the policy's.
bool PolicyLoop::intervened() {
  interventions_.read(intervention_);
  if (Clock::now() >= intervention_.until) return false;
  std::copy_n(intervention_.action.begin(), action_.size(), action_.begin());
  return true;
}

bool PolicyLoop::step(EpisodeResult& result, bool& done) {
  const std::span<const float> observation = environment_.observation();
  std::copy(observation.begin(), observation.end(), transition_.observation.begin());
  std::uint64_t version = 0;
  if (!act(result.evaluation, version)) {
    // An action that is not a number is refused below and counted there; so are old images.
    std::fill(action_.begin(), action_.end(), std::numeric_limits<float>::quiet_NaN());
  }
  const bool intervention = intervened();
  const bool seen_before = environment_.images_fresh();
  const auto outcome =
      environment_.step(action_, version, intervention ? Source::kOperator : Source::kPolicy);
  if (!outcome) return false;

  const std::span<const float> next = environment_.observation();
  std::copy(next.begin(), next.end(), transition_.next_observation.begin());
  std::copy(action_.begin(), action_.end(), transition_.action.begin());
  transition_.time_ns = environment_.time_ns();
  transition_.reward = outcome->reward;
  transition_.terminated = outcome->terminated;
  transition_.truncated = outcome->truncated || end_episode_.load(std::memory_order_relaxed);
  transition_.success = outcome->success;
  transition_.grasp_penalty = outcome->grasp_penalty;
  transition_.intervention = intervention;
  transition_.evaluation = result.evaluation;
  transition_.episode = result.episode;
  transition_.step = result.steps;
  transition_.policy_version = version;
  done = transition_.terminated || transition_.truncated;
  ++result.steps;
  result.episode_return += outcome->reward;
  result.success = result.success || outcome->success;
  result.policy_version = version;
  steps_.fetch_add(1, std::memory_order_relaxed);
  if (outcome->fault) {  // no action was executed: nothing to learn from
    faults_.raise(*outcome->fault, outcome->fault_value, outcome->fault_limit);
    return true;
  }
  // A person may act while the cameras are blind; there is nothing to see in such a transition. Nor
  // is one of use that nobody could judge.
  if (!seen_before || !environment_.images_fresh() || !outcome->judged) return true;
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(next.begin(), next.end(), finite) || !finite(outcome->reward)) {
    faults_.raise(Fault::kStateNonFinite);  // the learner would refuse it, and all that follows
    return true;
  }
  return sink_.push(transition_, {environment_.previous_images(), environment_.images()});
}

}  // namespace serl_rt
