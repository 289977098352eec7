// What the operating system can do for the control thread. What could not be had is reported, with
// the reason and the command that mends it, and never pretended.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/controller.hpp"

namespace serl_rt {

struct RealtimeOptions {
  int priority = 80;  // SCHED_FIFO; 0: ordinary scheduling
  int cpu = -1;       // core to stay on; -1: any
};

// Locks the process's memory, and touches and keeps a heap that later allocations come from, so
// that the control thread meets no page fault. Once, before the threads start. Returns what could
// not be had, as sentences.
std::vector<std::string> prepare_process();

// For the calling thread: a warmed-up stack, core, scheduling. Returns what could not be had.
std::vector<std::string> prepare_control_thread(const RealtimeOptions& options);

// For a real arm: a sentence when the kernel does not announce itself as a real-time one, with what
// follows from that. `announcement`: the file that a PREEMPT_RT kernel has, and libfranka looks at.
std::vector<std::string> check_kernel(
    const std::filesystem::path& announcement = "/sys/kernel/realtime");

// Runs ticks of a controller of the same configuration that moves nothing, in every kind of mode,
// so that the first tick of the real one meets warm code and linked functions. On the control
// thread, before it gets its priority. Returns how it ended.
ControllerStatus warm_up_control(const ControllerConfig& config);

// Keeps the CPUs out of deep sleep states while it lives (/dev/cpu_dma_latency).
class LowLatencyRequest {
 public:
  LowLatencyRequest();
  ~LowLatencyRequest();
  LowLatencyRequest(const LowLatencyRequest&) = delete;
  LowLatencyRequest& operator=(const LowLatencyRequest&) = delete;
  // Empty if it was granted, or what could not be had.
  const std::vector<std::string>& missing() const noexcept { return missing_; }

 private:
  int file_;
  std::vector<std::string> missing_;
};

}  // namespace serl_rt
