// What crosses threads: Mailbox (newest value), Seqlock (many readers), SwapSlot (heap objects).
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "core/mailbox.hpp"
#include "core/seqlock.hpp"
#include "core/swap_slot.hpp"
#include "core/types.hpp"

using namespace serl_rt;

namespace {

constexpr std::uint64_t kWrites = 50'000;

// A value that shows when it was put together from two writes; long, so that writing it takes time.
struct Marked {
  std::array<std::uint64_t, 512> copies{};

  static Marked of(std::uint64_t n) {
    Marked marked;
    marked.copies.fill(n);
    return marked;
  }
  bool whole() const {
    for (const std::uint64_t copy : copies) {
      if (copy != copies[0]) return false;
    }
    return true;
  }
};

// Knows how many of its kind are alive, and refuses to be used after its end.
struct Counted {
  explicit Counted(std::uint64_t n) : number(n) { ++alive; }
  ~Counted() {
    number = kDead;
    --alive;
  }
  static constexpr std::uint64_t kDead = ~std::uint64_t{0};
  static inline std::atomic<int> alive = 0;
  std::uint64_t number;
};

}  // namespace

TEST_CASE("a mailbox is empty at first, and a value is new once") {
  Mailbox<int> mailbox;
  int value = -1;
  CHECK_FALSE(mailbox.read(value));
  CHECK(value == -1);
  mailbox.write(7);
  CHECK(mailbox.read(value));
  CHECK(value == 7);
  CHECK_FALSE(mailbox.read(value));
}

TEST_CASE("a mailbox gives the newest of several writes, also with Eigen members") {
  Mailbox<Target> mailbox;
  Target target;
  for (int i = 1; i <= 10; ++i) {
    target.sequence = static_cast<std::uint64_t>(i);
    target.pose.position.setConstant(i);
    mailbox.write(target);
  }
  Target read;
  REQUIRE(mailbox.read(read));
  CHECK(read.sequence == 10);
  CHECK(read.pose.position == Vec3::Constant(10.0));
}

TEST_CASE("a mailbox between two threads: whole values, never older ones, the last one arrives") {
  Mailbox<Marked> mailbox;
  std::thread writer([&] {
    for (std::uint64_t n = 1; n <= kWrites; ++n) mailbox.write(Marked::of(n));
  });
  std::uint64_t last = 0;
  bool whole = true;
  bool ordered = true;
  Marked value;
  while (last < kWrites) {
    if (!mailbox.read(value)) continue;
    whole = whole && value.whole();
    ordered = ordered && value.copies[0] > last;
    last = value.copies[0];
  }
  writer.join();
  CHECK(whole);
  CHECK(ordered);
  CHECK_FALSE(mailbox.read(value));
}

TEST_CASE("a seqlock gives whole, never older values to several readers") {
  Seqlock<Marked> seqlock;
  CHECK(seqlock.load().copies[0] == 0);
  std::atomic<bool> whole = true;
  std::atomic<bool> ordered = true;
  const auto read_all = [&] {
    std::uint64_t last = 0;
    while (last < kWrites) {
      const Marked value = seqlock.load();
      if (!value.whole()) whole = false;
      if (value.copies[0] < last) ordered = false;
      last = value.copies[0];
    }
  };
  std::thread first(read_all);
  std::thread second(read_all);
  for (std::uint64_t n = 1; n <= kWrites; ++n) seqlock.store(Marked::of(n));
  first.join();
  second.join();
  CHECK(whole);
  CHECK(ordered);
}

TEST_CASE("a swap slot hands over, retires, and waits for the retired one to be collected") {
  {
    SwapSlot<Counted> slot;
    CHECK(slot.current() == nullptr);
    CHECK_FALSE(slot.take());
    slot.offer(std::make_unique<Counted>(1));
    CHECK_FALSE(slot.taken());
    CHECK(slot.take());
    CHECK(slot.taken());
    CHECK(slot.current()->number == 1);

    slot.offer(std::make_unique<Counted>(2));
    CHECK(slot.take());                        // 1 is retired
    slot.offer(std::make_unique<Counted>(3));  // frees 1
    CHECK(slot.take());                        // 2 is retired
    CHECK(Counted::alive == 2);
    slot.collect();
    CHECK(Counted::alive == 1);
    CHECK(slot.current()->number == 3);

    slot.offer(std::make_unique<Counted>(4));
    slot.offer(std::make_unique<Counted>(5));  // 4 was never taken
    CHECK(Counted::alive == 2);
    CHECK(slot.take());
    CHECK(slot.current()->number == 5);
    slot.offer(std::make_unique<Counted>(6));
    CHECK(slot.take());
  }
  CHECK(Counted::alive == 0);  // current, retired and offered ones are all freed
}

TEST_CASE("a swap slot between two threads frees every object once, none in use") {
  constexpr std::uint64_t kObjects = 100'000;
  {
    SwapSlot<Counted> slot;
    std::atomic<bool> running = false;
    std::atomic<bool> done = false;
    std::thread reader([&] {
      bool in_order = true;
      bool alive = true;
      std::uint64_t last = 0;
      const auto use = [&] {
        if (!slot.take()) return;
        const std::uint64_t number = slot.current()->number;
        alive = alive && number != Counted::kDead;
        in_order = in_order && number > last;
        last = number;
      };
      running = true;
      while (!done.load()) use();
      use();
      CHECK(in_order);
      CHECK(alive);
      CHECK(last > 0);
    });
    while (!running) std::this_thread::yield();
    for (std::uint64_t n = 1; n <= kObjects; ++n) slot.offer(std::make_unique<Counted>(n));
    slot.collect();
    done = true;
    reader.join();
    CHECK(Counted::alive <= 3);  // current, retired, offered
  }
  CHECK(Counted::alive == 0);
}
