#include "app/realtime.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace serl_rt {
namespace {

// Bytes of stack that the control thread touches in advance: several times what a tick uses.
constexpr std::size_t kStackBytes = 256 * 1024;

[[gnu::noinline]] void touch_stack() {
  volatile char stack[kStackBytes];
  for (std::size_t i = 0; i < kStackBytes; i += 4096) {
    stack[i] = 0;
    (void)stack[i];
  }
}

}  // namespace

std::vector<std::string> prepare_process() {
  std::vector<std::string> missing;
  // Freed memory stays in the process and never goes through mmap: no page faults later.
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_MMAP_MAX, 0);
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    missing.push_back("memory is not locked (" + std::string(std::strerror(errno)) +
                      "): give the user a memlock limit in /etc/security/limits.conf");
  }
  return missing;
}

std::vector<std::string> prepare_control_thread(const RealtimeOptions& options) {
  std::vector<std::string> missing;
  touch_stack();
  if (options.cpu >= 0) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<std::size_t>(options.cpu), &cores);
    const int error = pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
    if (error != 0) {
      missing.push_back("the control thread could not be bound to core " +
                        std::to_string(options.cpu) + " (" + std::strerror(error) + ")");
    }
  }
  if (options.priority > 0) {
    sched_param parameters{};
    parameters.sched_priority = options.priority;
    const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);
    if (error != 0) {
      missing.push_back("the control thread has no SCHED_FIFO priority " +
                        std::to_string(options.priority) + " (" + std::strerror(error) +
                        "): give the user an rtprio limit in /etc/security/limits.conf");
    }
  }
  return missing;
}

LowLatencyRequest::LowLatencyRequest() : file_(open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC)) {
  const std::int32_t microseconds = 0;
  if (file_ >= 0 && write(file_, &microseconds, sizeof(microseconds)) != sizeof(microseconds)) {
    close(file_);
    file_ = -1;
  }
}

LowLatencyRequest::~LowLatencyRequest() {
  if (file_ >= 0) close(file_);
}

}  // namespace serl_rt
