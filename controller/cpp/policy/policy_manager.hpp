// Which policy acts: verifies what is offered, hands it to the policy thread at a step edge, keeps
// the last good ones on disk. Whatever goes wrong, the current policy goes on acting.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/swap_slot.hpp"
#include "policy/contract.hpp"
#include "policy/policy_store.hpp"
#include "policy/verify.hpp"

namespace serl_rt {

struct PolicyManagerOptions {
  std::filesystem::path store;  // folder of the last good policies; empty: none are kept
  std::size_t keep = 5;
  VerifyOptions verify;
};

// The answer to one offer.
struct PolicyVerdict {
  bool accepted = false;
  std::uint64_t version = 0;
  std::string reason;    // why not; or what went wrong beside (not stored)
  double swap_ms = 0.0;  // [ms] from the bytes to the hand-over
};

struct PolicyStatus {
  std::uint64_t active_version = 0;    // that acts; 0: none yet
  std::uint64_t accepted_version = 0;  // last handed over; differs until the next step edge
  std::uint64_t swapped = 0;           // times that the policy thread took a new one
  std::uint64_t refused = 0;
  bool pinned = false;  // after a rollback: the learner's policies are refused
  std::string last_refusal;
};

// acquire() belongs to the policy thread; everything else may be called from any other thread. What
// loads a policy may wait for a verification that is going on; status() and collect() never do.
class PolicyManager {
 public:
  // Throws Error when the store's folder cannot be created.
  PolicyManager(Contract contract, PolicyManagerOptions options);

  // The policy to act with, newly offered ones included; null before the first. It stays valid
  // until the next call. Call at the beginning of a step. Wait-free.
  const Policy* acquire() noexcept {
    if (slot_.take()) {
      active_version_.store(slot_.current()->version(), std::memory_order_relaxed);
      swapped_.fetch_add(1, std::memory_order_relaxed);
    }
    return slot_.current();
  }

  // From the learner: must be newer than the last one accepted.
  PolicyVerdict offer(const PolicyOffer& offer);

  // A policy file, whatever its version.
  PolicyVerdict load_file(const std::filesystem::path& file);

  // The newest good one of the store for this contract.
  PolicyVerdict load_last_good();

  // A stored version, or 0 for the one before the current. It stays (pinned) until
  // follow_learner().
  PolicyVerdict rollback(std::uint64_t version);
  void follow_learner();

  // Another learner is there: its versions may start again from 1.
  void new_learner();

  // Frees a policy that the policy thread has replaced. Call now and then.
  void collect();

  PolicyStatus status() const;
  const Contract& contract() const noexcept { return contract_; }

 private:
  PolicyVerdict take_over(const PolicyOffer& offer, bool store);
  PolicyVerdict refuse(std::uint64_t version, std::string reason);
  void set_pinned(bool pinned);
  std::optional<PolicyStore::Entry> find_stored(std::uint64_t version) const;
  std::string stored_versions() const;

  Contract contract_;
  PolicyManagerOptions options_;
  std::mutex mutex_;  // everything below but the slot's reading side, told_ and the atomics
  std::unique_ptr<PolicyStore> store_;  // null: nothing is kept
  SwapSlot<Policy> slot_;
  std::uint64_t accepted_version_ = 0;
  bool pinned_ = false;
  bool any_version_ = true;
  mutable std::mutex told_mutex_;  // held for a copy only
  PolicyStatus told_;              // but for what the policy thread counts
  std::atomic<std::uint64_t> active_version_ = 0;
  std::atomic<std::uint64_t> swapped_ = 0;
};

}  // namespace serl_rt
