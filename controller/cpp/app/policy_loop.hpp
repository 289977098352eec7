// The embedded policy loop: episode after episode, observation -> policy -> target -> transition.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/controller.hpp"
#include "core/fault.hpp"
#include "core/mailbox.hpp"
#include "link/layout.hpp"
#include "link/transition.hpp"
#include "policy/environment.hpp"
#include "policy/noise.hpp"
#include "policy/policy_manager.hpp"

namespace serl_rt {

// Where transitions go. Called from the policy thread.
class TransitionSink {
 public:
  virtual ~TransitionSink() = default;

  // Waits until one more transition may be produced. False: the program is stopping.
  virtual bool wait_until_allowed() = 0;

  // Takes over a transition; `images`: the contract's, before and after, empty when it has none.
  // False: the program is stopping.
  virtual bool push(const Transition& transition, const StepImages& images) = 0;
};

struct PolicyLoopConfig {
  std::uint64_t seed = 0;
  std::uint64_t episodes = 0;  // stop after; 0: no limit
  std::uint64_t steps = 0;     // stop after; 0: no limit
  int evaluate_every = 0;      // of every n episodes the last act without noise; 0: none do
  int evaluations = 1;         // how many of the n
  double noise_scale = 1.0;
  bool policy_may_come = true;
  bool start_paused = false;  // an operator is in charge until resumed
};

struct EpisodeResult {
  std::uint32_t episode = 0;
  std::uint32_t steps = 0;
  double episode_return = 0.0;
  bool success = false;
  bool evaluation = false;
  std::uint64_t policy_version = 0;  // that acted last
};

class PolicyLoop {
 public:
  // Everything must outlive the loop.
  PolicyLoop(Environment& environment, PolicyManager& policies, TransitionSink& sink,
             Controller& controller, const PolicyLoopConfig& config, const Contract& contract,
             const std::atomic<bool>& stop);

  // Runs until a limit, `stop`, or the robot is gone. `on_episode` is called after each episode.
  // While it is paused, between two episodes, an operator is in charge of the arm.
  void run(const std::function<void(const EpisodeResult&)>& on_episode);

  // Any thread.
  std::uint64_t steps() const noexcept { return steps_.load(std::memory_order_relaxed); }
  std::uint32_t episode() const noexcept { return episode_.load(std::memory_order_relaxed); }

  // Holds at the end of the episode until resumed. Any thread.
  void set_paused(bool paused) noexcept { paused_.store(paused, std::memory_order_relaxed); }
  bool paused() const noexcept { return paused_.load(std::memory_order_relaxed); }
  // There is a policy to act with, or one may come. Any thread.
  bool may_act() const {
    return config_.policy_may_come || policies_.status().accepted_version != 0;
  }
  // A person's action replaces the policy's in each step that begins within `valid_s` [s], also
  // while images are too old for a policy; the transition says so. One thread. Throws Error: not
  // the contract's length, or outside [-1, 1].
  void intervene(std::span<const double> action, double valid_s);
  // Ends the running episode as truncated. Any thread.
  void end_episode() noexcept { end_episode_.store(true, std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Intervention {
    std::array<float, Transition::kMaxAction> action{};
    Clock::time_point until;
  };

  bool limit_reached() const noexcept;
  bool wait_for_start();
  bool is_evaluation(std::uint32_t episode) const noexcept;
  bool run_episode(EpisodeResult& result);
  // False: the program is stopping. `done` when the episode is over.
  bool step(EpisodeResult& result, bool& done);
  bool act(bool evaluation, std::uint64_t& version);
  bool intervened();

  Environment& environment_;
  PolicyManager& policies_;
  TransitionSink& sink_;
  Controller& controller_;
  FaultCounters& faults_;
  PolicyLoopConfig config_;
  const std::atomic<bool>& stop_;
  double period_s_;
  std::chrono::milliseconds idle_;
  ExplorationNoise noise_generator_;
  std::vector<float> noise_;
  std::vector<float> action_;
  Transition transition_;
  std::atomic<std::uint64_t> steps_ = 0;
  std::atomic<std::uint32_t> episode_ = 0;
  std::atomic<bool> paused_;
  Mailbox<Intervention> interventions_;
  Intervention intervention_;  // policy thread
  std::atomic<bool> end_episode_ = false;
};

}  // namespace serl_rt
