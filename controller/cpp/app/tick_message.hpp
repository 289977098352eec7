// A tick and an event as ROS 2 messages (CDR), and the definitions that travel with them in the
// file. No ROS is needed to write or to read them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/controller.hpp"

namespace serl_rt {

// Something that happened between two ticks.
struct RecordedEvent {
  std::uint64_t tick = 0;  // number of the tick that came next
  std::int64_t monotonic_ns = 0;
  Fault fault = Fault::kTargetInvalid;
  FaultCount count;  // how often since the program started, with the last value and limit
};

inline constexpr const char* kTickSchema = "serl_rt_msgs/msg/Tick";
inline constexpr const char* kFaultSchema = "serl_rt_msgs/msg/Fault";

// The message definitions. Names of modes and faults are constants in them.
std::string tick_definition();
std::string fault_definition();

// Replaces `message` by the encoded value.
void encode_tick(const TickRecord& tick, std::vector<std::uint8_t>& message);
void encode_fault(const RecordedEvent& event, std::vector<std::uint8_t>& message);

}  // namespace serl_rt
