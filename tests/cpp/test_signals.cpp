#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "app/signals.hpp"

using namespace serl_rt;
using namespace std::chrono_literals;

TEST_CASE("a signal that a thread from before the guard takes is received, and ends nothing") {
  std::atomic<bool> done = false;
  std::thread before([&] {
    while (!done) std::this_thread::sleep_for(1ms);
  });
  {
    const SignalGuard guard;
    CHECK_FALSE(guard.wait(0ms));
    for (const int signal : {SIGTERM, SIGINT}) {
      pthread_kill(before.native_handle(), signal);
      bool received = false;
      for (int i = 0; i < 500 && !received; ++i) received = guard.wait(10ms);
      CHECK(received);
      CHECK_FALSE(guard.wait(0ms));
    }
  }
  done = true;
  before.join();
}

TEST_CASE("a signal to the waiting thread or the process is received once") {
  const SignalGuard guard;
  raise(SIGTERM);
  CHECK(guard.wait(0ms));
  CHECK_FALSE(guard.wait(0ms));
}

TEST_CASE("what nobody waited for is forgotten at the end") {
  {
    const SignalGuard guard;
    raise(SIGINT);
  }
  const SignalGuard next;
  CHECK_FALSE(next.wait(0ms));
}
