// Brings offered policies in: asks for the newest when ready, has it verified on a thread of its
// own, so that acknowledgements never wait for it, and answers the learner.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "link/policy_trunk.hpp"
#include "link/socket.hpp"
#include "link/wire.hpp"

namespace serl_rt {

// A policy as it came from the learner. Nothing but the size has been checked.
struct ReceivedPolicy {
  std::uint64_t version = 0;
  std::string sha256;        // of `data`, as announced: compare it
  BytesView data;            // the ONNX file; valid during the call
  bool new_learner = false;  // first from another learner: versions may start again
};

struct PolicyOutcome {
  bool accepted = false;
  std::string reason;    // why not
  double swap_ms = 0.0;  // [ms] from the bytes to the hand-over
};

// Called on the intake's thread; may take its time. An exception counts as a refusal.
using PolicyHandler = std::function<PolicyOutcome(const ReceivedPolicy&)>;

struct PolicyCounts {
  std::uint64_t offered = 0;
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
};

// All calls belong to the link's thread; only the handler runs elsewhere.
class PolicyIntake {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `finished` is signalled when take_result() has something new.
  PolicyIntake(std::string contract_id, PolicyHandler handler, WakeUp& finished);
  ~PolicyIntake();  // waits for a handler that is running

  void welcome(const std::string& learner_id);
  void offer(const wire::PolicyOffer& offer);
  void receive(const wire::Policy& policy, Received message);

  // What to ask for now, if anything.
  std::optional<wire::PolicyRequest> next_request(Time now);

  // A verdict that the learner does not have yet.
  std::optional<wire::PolicyResult> take_result();

  const PolicyCounts& counts() const noexcept { return counts_; }

 private:
  struct Job {
    wire::Policy policy;
    bool new_learner;
    Received message;  // keeps policy.data
  };
  struct Judged {
    wire::PolicyResult result;
    std::string trunk_sha256;  // held from now on
  };
  static constexpr std::chrono::seconds kRequestPatience{10};

  void run();
  PolicyOutcome judge(const Job& job);
  void conclude(const wire::PolicyOffer& offer, wire::PolicyResult result);

  const std::string contract_id_;
  const PolicyHandler handler_;
  WakeUp& finished_;

  // link's thread
  std::string learner_id_;
  bool new_learner_ = false;
  std::optional<wire::PolicyOffer> wanted_;   // newest offer without a verdict
  std::optional<wire::PolicyOffer> loading_;  // what the handler looks at
  std::optional<wire::PolicyOffer> decided_;  // last offer with a verdict
  wire::PolicyResult verdict_;                // that one
  std::deque<wire::PolicyResult> outgoing_;
  std::optional<Time> requested_at_;
  std::string held_trunk_;  // its SHA-256
  bool busy_ = false;
  PolicyCounts counts_;

  PolicyTrunk trunk_;  // the intake's thread

  // shared with the intake's thread
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Job> job_;
  std::optional<Judged> judged_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace serl_rt
