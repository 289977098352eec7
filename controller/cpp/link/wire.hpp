// The messages between controller and learner (docs/architecture.md section 5), as bytes and back;
// export/wire.py is the counterpart, byte for byte. Decoding throws WireError, nothing else, and
// allocates nothing before it has checked the size.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "link/fields.hpp"
#include "link/layout.hpp"
#include "link/value.hpp"

namespace serl_rt::wire {

inline constexpr std::uint32_t kProtocol = 1;
inline constexpr std::size_t kMaxCount = 4096;  // transitions of a message
inline constexpr std::size_t kMaxPolicyBytes = std::size_t{256} * 1024 * 1024;

// ---- controller -> learner ----

struct Hello {
  std::uint32_t protocol = kProtocol;
  std::string run_id;       // 32 hex digits
  std::string contract_id;  // 64 hex digits
  std::string task;
  std::string pacing;          // lockstep | realtime
  std::uint64_t next_seq = 0;  // the oldest transition that can still be sent
};

struct Transitions {
  std::string run_id;
  std::uint64_t first_seq = 0;
  std::size_t count = 0;
  std::vector<Column> columns;
  Frames arrays;  // one per column
};

struct PolicyRequest {
  std::uint64_t version = 0;
  std::string trunk_sha256;  // of the trunk that is held, see Policy; empty: none
};

struct PolicyResult {
  std::uint64_t version = 0;
  bool accepted = false;
  std::string reason;    // empty when accepted
  double swap_ms = 0.0;  // [ms] from the bytes to the hand-over
};

struct Heartbeat {
  std::string run_id;
};

// ---- learner -> controller ----

struct Welcome {
  std::uint32_t protocol = kProtocol;
  std::string learner_id;  // of the learner's transition log: survives its restart
  std::string run_id;
  std::uint64_t next_seq = 0;  // expected first
  std::uint64_t credit = 0;
};

struct Ack {
  std::string run_id;
  std::uint64_t next_seq = 0;  // everything before it is stored
  std::uint64_t credit = 0;    // transitions of the run that a lockstep controller may produce
  bool resend = false;         // a later one came first: send again from next_seq
};

struct PolicyOffer {
  std::uint64_t version = 0;
  std::size_t size = 0;
  std::string sha256;
  std::string contract_id;
};

// The trunk is the beginning of the file that all policies on the same frozen weights share: who
// holds it gets only what follows.
struct Policy {
  std::uint64_t version = 0;
  std::size_t size = 0;  // of the whole file, as sha256
  std::string sha256;
  BytesView data;              // the whole file or what follows its trunk; the second frame
  std::size_t trunk_size = 0;  // 0: it has none
  std::string trunk_sha256;    // empty: it has none
};

struct HelloRequired {};

struct Refused {
  std::string reason;
};

using ControllerMessage = std::variant<Hello, Transitions, PolicyRequest, PolicyResult, Heartbeat>;
using LearnerMessage = std::variant<Welcome, Ack, PolicyOffer, Policy, HelloRequired, Refused>;

// The first frame of each message; the arrays of Transitions and the data of Policy follow it.
Bytes encode(const Hello& message);
Bytes encode(const Transitions& message);
Bytes encode(const PolicyRequest& message);
Bytes encode(const PolicyResult& message);
Bytes encode(const Heartbeat& message);
Bytes encode(const Welcome& message);
Bytes encode(const Ack& message);
Bytes encode(const PolicyOffer& message);
Bytes encode(const Policy& message);
Bytes encode(const HelloRequired& message);
Bytes encode(const Refused& message);

// Views in the results point into `frames`.
ControllerMessage decode_controller_message(const Frames& frames);
LearnerMessage decode_learner_message(const Frames& frames);

}  // namespace serl_rt::wire
