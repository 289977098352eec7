// What the operating system can do for the control thread. What could not be had is reported, with
// the reason, and never pretended.
#pragma once

#include <string>
#include <vector>

namespace serl_rt {

struct RealtimeOptions {
  int priority = 80;  // SCHED_FIFO; 0: ordinary scheduling
  int cpu = -1;       // core to stay on; -1: any
};

// Locks the process's memory and keeps freed memory, so that the control thread meets no page
// fault. Once, before the threads start. Returns what could not be had, as sentences.
std::vector<std::string> prepare_process();

// For the calling thread: scheduling, core, a warmed-up stack. Returns what could not be had.
std::vector<std::string> prepare_control_thread(const RealtimeOptions& options);

// Keeps the CPUs out of deep sleep states while it lives (/dev/cpu_dma_latency).
class LowLatencyRequest {
 public:
  LowLatencyRequest();
  ~LowLatencyRequest();
  LowLatencyRequest(const LowLatencyRequest&) = delete;
  LowLatencyRequest& operator=(const LowLatencyRequest&) = delete;
  bool granted() const noexcept { return file_ >= 0; }

 private:
  int file_;
};

}  // namespace serl_rt
