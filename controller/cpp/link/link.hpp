// The controller's link to the learner: transitions up, exactly once; policies down. One thread of
// its own does all I/O; the policy thread only touches a ring.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "link/outbox.hpp"
#include "link/policy_intake.hpp"
#include "link/socket.hpp"

namespace serl_rt {

struct LinkConfig {
  std::string endpoint = "tcp://127.0.0.1:5588";
  std::string contract_id;  // 64 hex digits
  std::string task;
  bool lockstep = false;
  OutboxConfig outbox;
  std::chrono::milliseconds heartbeat{500};
  std::chrono::milliseconds learner_timeout{5000};  // of silence, then connect anew
};

// A snapshot; counts are since the start.
struct LinkStats {
  std::string run_id;
  bool connected = false;       // the learner said welcome and is heard
  std::string refusal;          // why the learner refuses this controller; empty: it does not
  std::string failure;          // why the link's thread ended; empty: it runs
  std::uint64_t pushed = 0;     // taken from the policy thread
  std::uint64_t not_taken = 0;  // push() was false: ring or spool full
  std::uint64_t sent = 0;       // transitions, resent ones included
  std::uint64_t resent = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t credit = 0;     // lockstep: transitions that may be produced
  std::uint64_t welcomes = 0;   // 1 + reconnections
  std::uint64_t malformed = 0;  // messages dropped
  PolicyCounts policies;
};

class Link {
 public:
  // Starts the thread; the learner may come later. `layout` is copied. Throws Error when the
  // endpoint is malformed or not allowed.
  Link(std::shared_ptr<Messaging> messaging, LinkConfig config, TransitionLayout layout,
       PolicyHandler on_policy);
  ~Link();  // does not wait for acknowledgements: call drain() before

  // Policy thread. Wait-free. False: not taken, because the learner has been away for longer than
  // the spool lasts; counted. `images`: before and after, layout.image_bytes() each; copied. Those
  // before are sent only if the transition does not continue the one that was taken before.
  bool push(const Transition& transition, const StepImages& images = {}) noexcept;

  // Policy thread, lockstep: waits until more than `produced` transitions are allowed and the next
  // push() will be taken. False: not within the time. Throws Error when the link's thread ended.
  bool wait_for_credit(std::uint64_t produced, std::chrono::milliseconds timeout);

  // Policy thread: waits until the learner has stored everything that was pushed. False: not within
  // the time. Throws Error when the link's thread ended.
  bool drain(std::chrono::milliseconds timeout);

  LinkStats stats() const;                     // any thread
  const std::string& run_id() const noexcept;  // 32 random hex digits

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
