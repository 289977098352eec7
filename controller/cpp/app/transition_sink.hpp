// Where the policy loop's transitions go: to the learner, or nowhere.
#pragma once

#include <atomic>
#include <cstdint>

#include "app/policy_loop.hpp"
#include "link/link.hpp"

namespace serl_rt {

// `link` null: every transition is allowed and forgotten.
class LinkSink : public TransitionSink {
 public:
  LinkSink(Link* link, bool lockstep, const std::atomic<bool>& stop) noexcept
      : link_(link), lockstep_(lockstep), stop_(stop) {}

  bool wait_until_allowed() override {
    if (link_ == nullptr || !lockstep_) return !stop_.load(std::memory_order_relaxed);
    // Real time never waits for the learner; simulated time follows its credit.
    while (!stop_.load(std::memory_order_relaxed)) {
      if (link_->wait_for_credit(produced_, kPatience)) return true;
    }
    return false;
  }

  bool push(const Transition& transition, const StepImages& images) override {
    if (link_ != nullptr && link_->push(transition, images)) ++produced_;
    return !stop_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::chrono::milliseconds kPatience{100};  // between two looks at `stop`

  Link* link_;
  bool lockstep_;
  const std::atomic<bool>& stop_;
  std::uint64_t produced_ = 0;
};

}  // namespace serl_rt
