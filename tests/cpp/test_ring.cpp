#include <doctest/doctest.h>

#include <cstdint>
#include <deque>
#include <thread>

#include "arm_model.hpp"
#include "core/ring.hpp"

using namespace serl_rt;

TEST_CASE("a ring is first in, first out, and refuses when full or empty") {
  Ring<int, 4> ring;
  int value = -1;
  CHECK_FALSE(ring.try_pop(value));
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 4; ++i) CHECK(ring.try_push(10 * round + i));
    CHECK_FALSE(ring.try_push(99));
    for (int i = 0; i < 4; ++i) {
      CHECK(ring.try_pop(value));
      CHECK(value == 10 * round + i);
    }
    CHECK_FALSE(ring.try_pop(value));
  }
}

TEST_CASE("a ring behaves as a bounded queue under random pushes and pops") {
  Ring<int, 8> ring;
  std::deque<int> model;
  test::Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    if (random.integer(0, 1) == 0) {
      const bool room = model.size() < 8;
      REQUIRE(ring.try_push(i) == room);
      if (room) model.push_back(i);
    } else {
      int value = -1;
      REQUIRE(ring.try_pop(value) == !model.empty());
      if (model.empty()) continue;
      REQUIRE(value == model.front());
      model.pop_front();
    }
  }
}

TEST_CASE("a ring between two threads loses, repeats and reorders nothing") {
  constexpr std::uint64_t kValues = 200'000;
  Ring<std::uint64_t, 64> ring;
  std::thread producer([&] {
    for (std::uint64_t n = 0; n < kValues;) {
      if (ring.try_push(n)) {
        ++n;
      } else {
        std::this_thread::yield();
      }
    }
  });
  bool in_order = true;
  for (std::uint64_t n = 0; n < kValues;) {
    std::uint64_t value = 0;
    if (ring.try_pop(value)) {
      in_order = in_order && value == n;
      ++n;
    } else {
      std::this_thread::yield();
    }
  }
  producer.join();
  CHECK(in_order);
}
