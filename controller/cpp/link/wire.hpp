// The messages of docs/architecture.md section 5, as bytes and back; export/wire.py is the
// counterpart, byte for byte. Decoding throws WireError, nothing else, and allocates nothing before
// it has checked the size.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/types.hpp"
#include "link/layout.hpp"
#include "link/value.hpp"

namespace serl_rt::wire {

inline constexpr std::uint32_t kProtocol = 1;
inline constexpr std::size_t kMaxCount = 4096;  // transitions of a message
inline constexpr std::size_t kMaxPolicyBytes = std::size_t{256} * 1024 * 1024;

using Frames = std::vector<BytesView>;  // views of somebody else's bytes

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

// ---- controller <-> operator ----

struct Command {
  std::uint64_t id = 0;
  std::string name;
  Value::Map args;
};

struct Reply {
  std::uint64_t id = 0;
  bool ok = false;
  std::string error;  // empty when ok
  Value result;
};

// One of a stream of targets: not answered, the newest counts.
struct StreamTarget {
  enum class Kind { kPose, kJoints, kWrench, kAction };
  static constexpr double kMinTimeout = 0.02;  // [s]
  static constexpr double kMaxTimeout = 5.0;
  static constexpr std::size_t kMaxValues = 32;

  Kind kind = Kind::kPose;
  std::vector<double> values;  // finite; pose 7, joints 7, wrench 6, action: the contract's length
  double timeout_s = 0.5;      // without another one after this long the arm holds
};

inline constexpr std::string_view kStateTopic = "state";

struct StateSample {
  std::uint64_t sequence = 0;
  Value::Map status;
  State state;
  double gripper = 0.0;  // opening fraction
  Pose reference;        // what the impedance law follows
};

using ControllerMessage = std::variant<Hello, Transitions, PolicyRequest, PolicyResult, Heartbeat>;
using OperatorMessage = std::variant<Command, StreamTarget>;
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
Bytes encode(const Command& message);
Bytes encode(const Reply& message);
Bytes encode(const StreamTarget& message);

// All frames of a state message: topic, header, arrays.
std::vector<Bytes> encode(const StateSample& message);

// Views in the results point into `frames`.
ControllerMessage decode_controller_message(const Frames& frames);
LearnerMessage decode_learner_message(const Frames& frames);
OperatorMessage decode_operator_message(const Frames& frames);
Reply decode_reply(const Frames& frames);

}  // namespace serl_rt::wire
