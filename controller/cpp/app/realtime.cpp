#include "app/realtime.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

namespace serl_rt {
namespace {

constexpr std::size_t kPage = 4096;
// Bytes of stack that the control thread touches in advance: several times what a tick uses.
constexpr std::size_t kStackBytes = 256 * 1024;
// Bytes of heap that are there before the threads start: more than a run allocates later. (Asking
// malloc to grow in such steps instead would fault all of them in on the thread that needs one.)
constexpr std::size_t kHeapBytes = 16 * 1024 * 1024;
constexpr int kWarmUpTicks = 100;  // of each mode
constexpr const char* kLatencyFile = "/dev/cpu_dma_latency";

[[gnu::noinline]] void touch_stack() {
  volatile char stack[kStackBytes];
  for (std::size_t i = 0; i < kStackBytes; i += kPage) {
    stack[i] = 0;
    (void)stack[i];
  }
}

void touch_heap() {
  // Freed memory stays in the process and never goes through mmap: no page faults later.
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_MMAP_MAX, 0);
  const std::unique_ptr<char, decltype(&std::free)> heap(
      static_cast<char*>(std::malloc(kHeapBytes)), std::free);
  if (heap == nullptr) return;
  volatile char* touched = heap.get();
  for (std::size_t i = 0; i < kHeapBytes; i += kPage) touched[i] = 0;
}

// What a person runs to give the user a limit of pam_limits.
std::string limit_command(const std::string& item) {
  return "; mend it with: echo \"$USER - " + item +
         "\" | sudo tee -a /etc/security/limits.d/serl-rt.conf, then log in again";
}

bool may_lock_without_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY) return true;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1U << CAP_IPC_LOCK)) != 0;
}

std::string allowed_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return "unknown";
  std::string list;
  for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &cores)) list += (list.empty() ? "" : ", ") + std::to_string(core);
  }
  return list;
}

}  // namespace

std::vector<std::string> prepare_process() {
  touch_heap();
  // Under a limit, locking what comes later would make a later allocation or thread fail instead.
  const bool all = may_lock_without_limit();
  if (mlockall(all ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT) != 0) {
    return {"memory is not locked (" + std::string(std::strerror(errno)) +
            "), so the control thread may wait for pages" + limit_command("memlock unlimited")};
  }
  if (!all) {
    return {"only the memory that is in use at the start is locked, because memlock is limited" +
            limit_command("memlock unlimited")};
  }
  return {};
}

std::vector<std::string> prepare_control_thread(const RealtimeOptions& options) {
  std::vector<std::string> missing;
  touch_stack();
  if (options.cpu >= 0) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    if (options.cpu < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(options.cpu), &cores);
    const int error = pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
    if (error != 0) {
      missing.push_back("the control thread is not bound to core " + std::to_string(options.cpu) +
                        " (" + std::strerror(error) +
                        "); choose one of these with --cpu: " + allowed_cores());
    }
  }
  if (options.priority > 0) {
    sched_param parameters{};
    parameters.sched_priority = options.priority;
    const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);
    if (error != 0) {
      missing.push_back("the control thread has no SCHED_FIFO priority " +
                        std::to_string(options.priority) + " (" + std::strerror(error) + ")" +
                        limit_command("rtprio 99"));
    }
  }
  return missing;
}

std::vector<std::string> check_kernel(const std::filesystem::path& announcement) {
  int real_time = 0;
  std::ifstream file(announcement);
  if (file >> real_time && real_time == 1) return {};
  return {"the kernel is not a real-time one (PREEMPT_RT: no " + announcement.string() +
          "), so under load a tick may come milliseconds late: the robot goes on with the torque "
          "before, and after 20 such cycles in a row stops itself (communication constraints); "
          "'serl-rt doctor' measures it; mend it with: sudo pro enable realtime-kernel (Ubuntu) or "
          "sudo apt install linux-image-rt-amd64 (Debian), then reboot"};
}

ControllerStatus warm_up_control(const ControllerConfig& config) {
  const auto controller = std::make_unique<Controller>(config);
  State state;
  state.q = 0.5 * (config.limits.q_min + config.limits.q_max);
  state.O_T_EE.position = 0.5 * (config.workspace.low + config.workspace.high);
  controller->start(state);
  std::uint64_t sequence = 0;
  for (const Mode mode : {Mode::kHold, Mode::kCartesianImpedance, Mode::kJointImpedance,
                          Mode::kJointMove, Mode::kCartesianWrench, Mode::kGravityCompensation}) {
    Target target;
    target.mode = mode;
    target.pose = state.O_T_EE;
    target.q = state.q;
    target.sequence = ++sequence;
    controller->targets().write(target);
    for (int i = 0; i < kWarmUpTicks; ++i) {
      controller->tick(state);
      state.time_ns += kTickNs;
    }
  }
  return controller->status();
}

LowLatencyRequest::LowLatencyRequest() : file_(open(kLatencyFile, O_WRONLY | O_CLOEXEC)) {
  const std::int32_t microseconds = 0;
  if (file_ >= 0 && write(file_, &microseconds, sizeof(microseconds)) == sizeof(microseconds)) {
    return;
  }
  missing_.push_back(
      "the cores may fall into deep sleep states (" + std::string(kLatencyFile) + ": " +
      std::strerror(errno) +
      "); mend it with: echo 'KERNEL==\"cpu_dma_latency\", MODE=\"0666\"' | sudo tee "
      "/etc/udev/rules.d/99-cpu-dma-latency.rules && sudo udevadm trigger "
      "--name-match=cpu_dma_latency");
  if (file_ >= 0) close(file_);
  file_ = -1;
}

LowLatencyRequest::~LowLatencyRequest() {
  if (file_ >= 0) close(file_);
}

}  // namespace serl_rt
