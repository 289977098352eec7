#include "app/wakeup.hpp"

#include <time.h>

#include <memory>
#include <thread>

#include "core/types.hpp"

namespace serl_rt {
namespace {

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void sleep_until(std::int64_t due_ns) {
  const timespec due{due_ns / 1'000'000'000LL, due_ns % 1'000'000'000LL};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr);
}

}  // namespace

WakeupResult measure_wakeup(std::chrono::milliseconds duration, const RealtimeOptions& options,
                            const std::stop_token& stop) {
  const LowLatencyRequest latency;
  WakeupResult result{{}, prepare_process()};
  result.not_granted.insert(result.not_granted.end(), latency.missing().begin(),
                            latency.missing().end());
  auto histogram = std::make_unique<Histogram>();
  std::thread([&] {
    const auto missing = prepare_control_thread(options);
    result.not_granted.insert(result.not_granted.end(), missing.begin(), missing.end());
    std::int64_t due = now_ns();
    const std::int64_t end = due + std::chrono::nanoseconds(duration).count();
    while (due < end && !stop.stop_requested()) {
      do due += kTickNs;
      while (due <= now_ns());
      sleep_until(due);
      histogram->record(now_ns() - due);
    }
  }).join();
  result.latency = histogram->snapshot();
  return result;
}

}  // namespace serl_rt
