// How late the control thread's set-up wakes from an absolute 1 kHz sleep: the part of a tick's
// lateness that belongs to the machine. Its control is cyclictest with the same priority and
// period. Usage: bench_wakeup SECONDS REPETITIONS. Prints JSON, nanoseconds.
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "app/realtime.hpp"
#include "core/histogram.hpp"
#include "core/types.hpp"

using namespace serl_rt;

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

HistogramSnapshot measure(int seconds) {
  auto histogram = std::make_unique<Histogram>();
  std::int64_t due = now_ns();
  for (int tick = 0; tick < seconds * 1000; ++tick) {
    // Instants that passed during a stall are given up, as cyclictest does: one stall counts once.
    do due += kTickNs;
    while (due <= now_ns());
    sleep_until(due);
    histogram->record(now_ns() - due);
  }
  return histogram->snapshot();
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 5;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 3;
  if (seconds < 1 || repetitions < 1) {
    std::fprintf(stderr, "usage: bench_wakeup SECONDS REPETITIONS, both at least 1\n");
    return 2;
  }
  const LowLatencyRequest latency;
  auto missing = prepare_process();
  for (auto& sentence : prepare_control_thread({})) missing.push_back(std::move(sentence));
  for (const auto& sentence : missing) std::fprintf(stderr, "%s\n", sentence.c_str());
  std::printf("[");
  for (int i = 0; i < repetitions; ++i) {
    const HistogramSnapshot wakeup = measure(seconds);
    std::printf("%s{\"p50\": %lld, \"p99\": %lld, \"p999\": %lld, \"max\": %lld}", i ? ", " : "",
                static_cast<long long>(wakeup.percentile(0.5)),
                static_cast<long long>(wakeup.percentile(0.99)),
                static_cast<long long>(wakeup.percentile(0.999)),
                static_cast<long long>(wakeup.max()));
  }
  std::printf("]\n");
}
