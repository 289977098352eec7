// CPU time of the calling thread [s]: how long work takes, however busy the machine is.
#pragma once

#include <ctime>

namespace serl_rt {

inline double thread_cpu_seconds() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace serl_rt
