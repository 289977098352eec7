// How late the control thread's set-up wakes from an absolute 1 kHz sleep. Its control is
// cyclictest with the same priority and period. Usage: bench_wakeup SECONDS REPETITIONS. Prints
// JSON, nanoseconds.
#include <cstdio>
#include <cstdlib>

#include "app/wakeup.hpp"

using namespace serl_rt;

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 5;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 3;
  if (seconds < 1 || repetitions < 1) {
    std::fprintf(stderr, "usage: bench_wakeup SECONDS REPETITIONS, both at least 1\n");
    return 2;
  }
  std::printf("[");
  for (int i = 0; i < repetitions; ++i) {
    const auto [wakeup, missing] = measure_wakeup(std::chrono::seconds(seconds), {}, {});
    if (i == 0) {
      for (const auto& sentence : missing) std::fprintf(stderr, "%s\n", sentence.c_str());
    }
    std::printf("%s{\"p50\": %lld, \"p99\": %lld, \"p999\": %lld, \"max\": %lld}", i ? ", " : "",
                static_cast<long long>(wakeup.percentile(0.5)),
                static_cast<long long>(wakeup.percentile(0.99)),
                static_cast<long long>(wakeup.percentile(0.999)),
                static_cast<long long>(wakeup.max()));
  }
  std::printf("]\n");
}
