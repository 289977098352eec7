// Measures how late the control thread's set-up wakes from an absolute 1 kHz sleep: the part of a
// tick's lateness that belongs to the machine.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <vector>

#include "app/realtime.hpp"
#include "core/histogram.hpp"

namespace serl_rt {

struct WakeupResult {
  HistogramSnapshot latency;             // [ns] from the due time to running
  std::vector<std::string> not_granted;  // what the operating system refused, as sentences
};

// Measures on a thread of its own, prepared like the control thread; returns early when asked to
// stop. Instants that pass during a stall are given up, as cyclictest does: one stall counts once.
WakeupResult measure_wakeup(std::chrono::milliseconds duration, const RealtimeOptions& options,
                            const std::stop_token& stop);

}  // namespace serl_rt
