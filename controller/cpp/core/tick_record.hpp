// What is kept of each tick, for the flight recorder.
#pragma once

#include <cstdint>

#include "core/fault.hpp"
#include "core/ring.hpp"
#include "core/types.hpp"

namespace serl_rt {

// When a tick began and how long the work took: only the loop around the controller knows.
struct TickTiming {
  std::int64_t monotonic_ns = 0;  // [ns] steady clock at the sample
  std::int64_t period_ns = 0;     // [ns] since the sample before; 0: the first
  std::int64_t compute_ns = 0;    // [ns] that the tick before took
};

// What happened in one tick.
struct TickRecord {
  std::int64_t time_ns = 0;         // robot clock
  TickTiming timing;                // zero where nobody keeps the time
  Vec7 q = Vec7::Zero();            // [rad]
  Vec7 dq = Vec7::Zero();           // [rad/s]
  Vec7 tau_J = Vec7::Zero();        // [Nm] measured
  Vec6 O_F_ext = Vec6::Zero();      // [N, Nm] external wrench, base frame
  Pose measured;                    // O_T_EE
  Pose reference;                   // what the law followed; the measured pose in joint modes
  Pose target;                      // where the reference goes; the same in joint modes
  Vec7 q_reference = Vec7::Zero();  // [rad] what the law followed; q in the other modes
  Vec7 tau_law = Vec7::Zero();      // [Nm] before fade and limits
  Vec7 tau = Vec7::Zero();          // [Nm] commanded
  Mode mode = Mode::kHold;
  FaultSet faults;
  std::uint64_t target_sequence = 0;
  std::uint64_t policy_version = 0;
};
using RecordRing = Ring<TickRecord, 1024>;

}  // namespace serl_rt
