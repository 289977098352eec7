// What the operating system grants is there, and what it refuses is said.
#include "app/realtime.hpp"

#include <doctest/doctest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "app/wakeup.hpp"

using namespace serl_rt;

namespace {

bool mentions(const std::vector<std::string>& sentences, const std::string& word) {
  for (const auto& sentence : sentences) {
    if (sentence.find(word) != std::string::npos) return true;
  }
  return false;
}

long locked_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kilobytes = 0;
    if (word == "VmLck:" && status >> kilobytes) return kilobytes;
  }
  return -1;
}

long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

}  // namespace

// Sanitizers bring their own malloc and lock nothing.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("memory is locked, or the sentence says what to run") {
  const auto missing = prepare_process();
  if (missing.empty()) {
    CHECK(locked_kilobytes() > 0);
  } else {
    CHECK(mentions(missing, "memlock unlimited"));
  }
}

TEST_CASE("a megabyte of heap after the start costs no page fault") {
  prepare_process();
  const long before = page_faults();
  auto* memory = static_cast<char*>(std::malloc(1 << 20));
  for (int i = 0; i < 1 << 20; i += 4096) static_cast<volatile char*>(memory)[i] = 1;
  const long faults = page_faults() - before;
  std::free(memory);
  CHECK(faults < 16);  // 256 pages; the test program itself may meet a few
}

#endif

TEST_CASE("the control thread's core and priority are what was asked for, or named") {
  std::vector<std::string> missing;
  int policy = -1;
  sched_param parameters{};
  int core = -1;
  cpu_set_t allowed;
  REQUIRE(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
  int first = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(first), &allowed)) ++first;
  std::thread([&] {
    missing = prepare_control_thread({42, first});
    core = sched_getcpu();
    pthread_getschedparam(pthread_self(), &policy, &parameters);
  }).join();
  CHECK(core == first);
  if (mentions(missing, "SCHED_FIFO priority 42")) {
    CHECK(mentions(missing, "rtprio 99"));
    CHECK(policy == SCHED_OTHER);
  } else {
    CHECK(policy == SCHED_FIFO);
    CHECK(parameters.sched_priority == 42);
  }
}

TEST_CASE("a core that is not there is refused by name, with the ones that are") {
  std::vector<std::string> missing;
  std::thread([&] { missing = prepare_control_thread({0, 9999}); }).join();
  REQUIRE(missing.size() == 1);
  CHECK(mentions(missing, "core 9999"));
  CHECK(mentions(missing, "--cpu"));
}

TEST_CASE("no priority asked for: ordinary scheduling, and nothing is missing") {
  int policy = -1;
  std::thread([&] {
    sched_param parameters{};  // whoever runs this test may have a priority
    REQUIRE(pthread_setschedparam(pthread_self(), SCHED_OTHER, &parameters) == 0);
    CHECK(prepare_control_thread({0, -1}).empty());
    pthread_getschedparam(pthread_self(), &policy, &parameters);
  }).join();
  CHECK(policy == SCHED_OTHER);
}

TEST_CASE("an ordinary kernel is reported with what follows from it") {
  const auto file =
      std::filesystem::temp_directory_path() / ("serl-rt-realtime-" + std::to_string(getpid()));
  const std::vector<std::string> none = check_kernel(file);  // there is no such file
  REQUIRE(none.size() == 1);
  CHECK(none[0].find("PREEMPT_RT") != std::string::npos);
  CHECK(none[0].find("20 such cycles") != std::string::npos);
  std::ofstream(file) << "0\n";
  CHECK(check_kernel(file).size() == 1);
  std::ofstream(file) << "1\n";
  CHECK(check_kernel(file).empty());
  std::filesystem::remove(file);
}

TEST_CASE("warming up goes through the modes, without a robot") {
  const ControllerStatus status = warm_up_control(ControllerConfig{});
  CHECK(status.refused_sequence == 0);
  CHECK(status.mode == Mode::kGravityCompensation);  // the last of them all
  constexpr auto kModes = static_cast<std::uint64_t>(Mode::kGravityCompensation) + 1;
  CHECK(status.target_sequence == kModes);
}

TEST_CASE("waking up is measured once a millisecond and ends when it is asked to") {
  const WakeupResult result = measure_wakeup(std::chrono::milliseconds(200), {0, -1}, {});
  CHECK(result.latency.count() > 0);
  CHECK(result.latency.count() <= 200);
  CHECK(result.latency.max() >= result.latency.percentile(0.5));
  CHECK(result.latency.count_above(result.latency.max()) == 0);
  CHECK(result.latency.count_above(0) <= result.latency.count());

  std::stop_source stop;
  stop.request_stop();
  CHECK(measure_wakeup(std::chrono::hours(1), {0, -1}, stop.get_token()).latency.count() == 0);
}
