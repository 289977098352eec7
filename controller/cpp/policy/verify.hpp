// Decides whether a policy may act: nothing that comes from outside reaches the arm without this.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "policy/contract.hpp"
#include "policy/session.hpp"
#include "policy/watchdog.hpp"

namespace serl_rt {

// A policy that passed.
class Policy {
 public:
  Policy(PolicySession session, std::uint64_t version)
      : session_(std::make_unique<PolicySession>(std::move(session))), version_(version) {}

  // Runs on one thread only: the policy thread, once it has the policy.
  PolicySession& session() const noexcept { return *session_; }
  std::uint64_t version() const noexcept { return version_; }

 private:
  std::unique_ptr<PolicySession> session_;
  std::uint64_t version_;
};

// A policy as it was announced, and the bytes that arrived.
struct PolicyOffer {
  std::uint64_t version = 0;
  std::size_t size = 0;
  std::string sha256;  // of `bytes`, 64 hex digits
  std::span<const std::byte> bytes;
};

struct VerifyOptions {
  int warmup_runs = 50;           // on probe observations, at least 2
  double median_fraction = 0.5;   // of the policy period that the median run may take
  double longest_fraction = 1.0;  // of the policy period that the longest run may take
  std::chrono::milliseconds patience = kTrialPatience;  // for all warm-up runs together
};

// In this order: size and hash -> ONNX Runtime parses it -> contract id -> version -> names, shapes
// and types -> warm-up on probe observations: finite, in [-1, 1], fast enough. Throws Error with
// the reason. Times are CPU time of the calling thread, so that a busy machine refuses no good
// policy.
std::unique_ptr<Policy> verify_policy(const PolicyOffer& offer, const Contract& contract,
                                      const VerifyOptions& options = {});

}  // namespace serl_rt
