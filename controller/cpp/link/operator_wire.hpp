// The messages between a controller and who operates it (docs/architecture.md section 5), as bytes
// and back; see wire.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/types.hpp"
#include "link/fields.hpp"
#include "link/value.hpp"

namespace serl_rt::wire {

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

using OperatorMessage = std::variant<Command, StreamTarget>;

Bytes encode(const Command& message);
Bytes encode(const Reply& message);
Bytes encode(const StreamTarget& message);

// All frames: topic, header, arrays.
std::vector<Bytes> encode(const StateSample& message);

OperatorMessage decode_operator_message(const Frames& frames);
Reply decode_reply(const Frames& frames);

}  // namespace serl_rt::wire
