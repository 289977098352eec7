// The spool and the outbox: nothing lost, nothing twice, whatever the learner answers.
#include "link/spool.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "link/outbox.hpp"

using namespace serl_rt;
using std::chrono::milliseconds;

namespace {

TransitionLayout small_layout() { return {{{"x", {2}}}, 1}; }

Transition numbered(std::uint64_t number) {
  Transition t;
  t.observation[0] = static_cast<float>(number);
  t.time_ns = static_cast<std::int64_t>(number);
  return t;
}

// The numbers of packed transitions, from their last column.
std::vector<std::int64_t> numbers(const PackedColumns& columns) {
  std::vector<std::int64_t> result(columns.count());
  std::memcpy(result.data(), columns.frames().back().data(), columns.frames().back().size());
  return result;
}

}  // namespace

TEST_CASE("what was pushed can be packed until it is acknowledged") {
  const TransitionLayout layout = small_layout();
  Spool spool(layout, std::size_t{1} << 20);
  std::mt19937_64 random(1);
  std::uint64_t pushed = 0;
  PackedColumns columns;
  for (int round = 0; round < 300; ++round) {
    for (std::uint64_t n = random() % 100; n > 0; --n) REQUIRE(spool.push(numbered(pushed++)));
    CHECK(spool.next_seq() == pushed);
    if (spool.size() == 0) continue;
    const std::uint64_t first = spool.first_seq() + random() % spool.size();
    const auto count = 1 + static_cast<std::size_t>(random() % (pushed - first));
    spool.pack(first, count, columns);
    const auto packed = numbers(columns);
    REQUIRE(packed.size() == count);
    for (std::size_t i = 0; i < count; ++i) {
      REQUIRE(packed[i] == static_cast<std::int64_t>(first + i));
    }
    spool.acknowledge(spool.first_seq() + random() % (spool.size() + 1));
  }
}

TEST_CASE("a full spool refuses, and takes again after an acknowledgement") {
  const TransitionLayout layout = small_layout();
  Spool spool(layout, 1000 * layout.row_bytes());
  for (std::uint64_t i = 0; i < 1000; ++i) REQUIRE(spool.push(numbered(i)));
  CHECK(spool.full());
  CHECK_FALSE(spool.push(numbered(1000)));
  CHECK(spool.next_seq() == 1000);
  spool.acknowledge(1);
  CHECK(spool.push(numbered(1000)));
  CHECK_FALSE(spool.push(numbered(1001)));
}

TEST_CASE("acknowledgements of what is not there are refused") {
  const TransitionLayout layout = small_layout();
  Spool spool(layout, std::size_t{1} << 20);
  for (std::uint64_t i = 0; i < 10; ++i) spool.push(numbered(i));
  spool.acknowledge(5);
  CHECK_THROWS_WITH_AS(spool.acknowledge(4), doctest::Contains("expected 5 to 10"), WireError);
  CHECK_THROWS_WITH_AS(spool.acknowledge(11), doctest::Contains("expected 5 to 10"), WireError);
}

namespace {

// What an observer of packed columns knows of the images: before and after each transition, as the
// learner reassembles them. `last` is what the transition before ended with.
std::vector<std::pair<int, int>> seen_images(const PackedColumns& columns, std::size_t image_size,
                                             int last) {
  const auto& frames = columns.frames();
  const BytesView starts = frames[frames.size() - 3];
  const BytesView before = frames[frames.size() - 2];
  const BytesView after = frames[frames.size() - 1];
  std::vector<std::pair<int, int>> seen;
  std::size_t used = 0;
  for (std::size_t i = 0; i < columns.count(); ++i) {
    if (starts[i] == std::byte{1}) last = std::to_integer<int>(before[image_size * used++]);
    const int next = std::to_integer<int>(after[image_size * i]);
    seen.emplace_back(last, next);
    last = next;
  }
  CHECK(before.size() == used * image_size);
  return seen;
}

}  // namespace

TEST_CASE("images come out as they went in, each once, wherever packing begins") {
  const TransitionLayout layout({{"x", {2}}}, 1, {{"camera", {1, 4, 3}}});
  constexpr std::size_t kSize = 12;
  Spool spool(layout, std::size_t{1} << 20);
  std::mt19937 random(1);
  std::vector<std::pair<int, int>> pushed;  // before, after
  PackedColumns columns;
  for (int round = 0; round < 200; ++round) {
    for (auto n = random() % 20; n > 0; --n) {
      const int next = static_cast<int>(random() % 256);
      const bool starts = pushed.empty() || random() % 5 == 0;
      const int before = starts ? static_cast<int>(random() % 256) : pushed.back().second;
      const Bytes first(kSize, std::byte(before));
      const Bytes second(kSize, std::byte(next));
      REQUIRE(
          spool.push(numbered(pushed.size()), {starts ? BytesView(first) : BytesView(), second}));
      pushed.emplace_back(before, next);
    }
    if (spool.size() == 0) continue;
    const std::uint64_t first = spool.first_seq() + random() % spool.size();
    const auto count = 1 + static_cast<std::size_t>(random() % (pushed.size() - first));
    const auto begin = pushed.begin() + static_cast<std::ptrdiff_t>(first);
    const std::vector expected(begin, begin + static_cast<std::ptrdiff_t>(count));
    spool.pack(first, count, columns);
    const int last = first == 0 ? -1 : pushed[first - 1].second;
    CHECK(seen_images(columns, kSize, last) == expected);
    spool.pack(first, count, columns, true);  // for somebody who knows nothing of what came before
    CHECK(seen_images(columns, kSize, -1) == expected);
    spool.acknowledge(spool.first_seq() + random() % (spool.size() + 1));
  }
}

TEST_CASE("images count towards what a spool holds") {
  const TransitionLayout layout({{"x", {2}}}, 1, {{"camera", {100, 100, 3}}});
  const std::size_t step = layout.row_bytes() + layout.image_bytes();
  Spool spool(layout, 11 * step + layout.image_bytes());
  const Bytes image(layout.image_bytes());
  std::uint64_t taken = 0;
  while (spool.push(numbered(taken), {taken == 0 ? BytesView(image) : BytesView(), image})) ++taken;
  CHECK(taken == 10);  // room for one that starts anew is always left
  spool.acknowledge(1);
  CHECK(spool.push(numbered(taken), {{}, image}));
}

TEST_CASE("the outbox sends full batches at once and others after lingering") {
  const TransitionLayout layout = small_layout();
  OutboxConfig config;
  config.batch = 10;
  Outbox outbox(layout, config);
  Outbox::Time now{};
  for (std::uint64_t i = 0; i < 12; ++i) outbox.push(numbered(i), now);

  auto batch = outbox.next(false, now);
  REQUIRE(batch);
  CHECK(batch->first_seq == 0);
  CHECK(batch->count == 10);
  CHECK_FALSE(batch->again);
  outbox.sent(*batch, now);

  CHECK_FALSE(outbox.next(false, now));
  CHECK(outbox.next(true, now)->count == 2);
  batch = outbox.next(false, now + config.linger);
  REQUIRE(batch);
  CHECK(batch->first_seq == 10);
  CHECK(batch->count == 2);
  outbox.sent(*batch, now);
  CHECK_FALSE(outbox.next(true, now));
}

TEST_CASE("the outbox bounds what is on the way") {
  const TransitionLayout layout = small_layout();
  OutboxConfig config;
  config.batch = 10;
  config.window = 3;
  Outbox outbox(layout, config);
  const Outbox::Time now{};
  for (std::uint64_t i = 0; i < 100; ++i) outbox.push(numbered(i), now);
  int batches = 0;
  while (const auto batch = outbox.next(true, now)) {
    outbox.sent(*batch, now);
    ++batches;
  }
  CHECK(batches == 3);
  outbox.acknowledge(10, false, now);
  CHECK(outbox.next(true, now)->first_seq == 30);
}

TEST_CASE("the outbox resends what is overdue, with growing patience") {
  const TransitionLayout layout = small_layout();
  OutboxConfig config;
  config.resend_after = milliseconds(100);
  config.resend_at_most = milliseconds(150);
  Outbox outbox(layout, config);
  Outbox::Time now{};
  outbox.push(numbered(0), now);
  outbox.sent(*outbox.next(true, now), now);
  for (const int patience : {100, 150, 150}) {
    CHECK_FALSE(outbox.next(true, now + milliseconds(patience - 1)));
    now += milliseconds(patience);
    const auto batch = outbox.next(true, now);
    REQUIRE(batch);
    CHECK(batch->first_seq == 0);
    CHECK(batch->again);
    outbox.sent(*batch, now);
  }
  outbox.acknowledge(1, false, now);
  CHECK_FALSE(outbox.next(true, now + std::chrono::hours(1)));
}

TEST_CASE("the outbox goes back once however often it is asked for the same") {
  const TransitionLayout layout = small_layout();
  OutboxConfig config;
  config.batch = 1;
  Outbox outbox(layout, config);
  const Outbox::Time now{};
  for (std::uint64_t i = 0; i < 5; ++i) outbox.push(numbered(i), now);
  while (const auto batch = outbox.next(true, now)) outbox.sent(*batch, now);
  outbox.acknowledge(2, true, now);
  CHECK(outbox.next(true, now)->first_seq == 2);
  outbox.sent(*outbox.next(true, now), now);
  outbox.acknowledge(2, true, now);
  CHECK(outbox.next(true, now)->first_seq == 3);
}

TEST_CASE("the outbox refuses acknowledgements of what was never sent") {
  const TransitionLayout layout = small_layout();
  Outbox outbox(layout, {});
  const Outbox::Time now{};
  outbox.push(numbered(0), now);
  CHECK_THROWS_AS(outbox.acknowledge(1, false, now), WireError);
  CHECK_THROWS_AS(outbox.restart(2, now), WireError);
}

// A learner that is simulated down to the numbers, and a road on which messages and answers get
// lost, come twice, or in another order.
TEST_CASE("over a bad road everything arrives exactly once, in order") {
  const TransitionLayout layout = small_layout();
  for (const unsigned seed : {1U, 2U, 3U, 4U, 5U}) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto chance = [&](double p) { return random() < p * static_cast<double>(UINT32_MAX); };
    OutboxConfig config;
    config.batch = 7;
    config.window = 4;
    config.resend_after = milliseconds(50);
    Outbox outbox(layout, config);
    Outbox::Time now{};
    PackedColumns columns;
    struct Message {
      std::uint64_t first_seq;
      std::vector<std::int64_t> numbers;
    };
    struct Answer {
      std::uint64_t next_seq;
      bool resend;
    };
    std::vector<Message> up;
    std::vector<Answer> down;
    std::vector<std::int64_t> stored;
    constexpr std::size_t kTotal = 500;
    std::uint64_t pushed = 0;
    for (int round = 0; round < 100'000 && outbox.acknowledged() < kTotal; ++round) {
      now += milliseconds(1);
      if (pushed < kTotal && chance(0.5)) outbox.push(numbered(pushed++), now);
      while (const auto batch = outbox.next(false, now)) {
        outbox.pack(*batch, columns);
        if (!chance(0.3)) up.push_back({batch->first_seq, numbers(columns)});
        if (chance(0.1)) up.push_back({batch->first_seq, numbers(columns)});
        outbox.sent(*batch, now);
      }
      if (chance(0.2)) std::shuffle(up.begin(), up.end(), random);
      if (!up.empty() && chance(0.5)) {
        const Message message = up.front();
        up.erase(up.begin());
        const bool gap = message.first_seq > stored.size();
        for (std::size_t i = 0; !gap && i < message.numbers.size(); ++i) {
          if (message.first_seq + i == stored.size()) stored.push_back(message.numbers[i]);
        }
        if (!chance(0.3)) down.push_back({stored.size(), gap});
      }
      if (chance(0.1)) std::shuffle(down.begin(), down.end(), random);
      if (!down.empty() && chance(0.5)) {
        outbox.acknowledge(down.front().next_seq, down.front().resend, now);
        down.erase(down.begin());
      }
    }
    CHECK(outbox.acknowledged() == kTotal);
    REQUIRE(stored.size() == kTotal);
    for (std::size_t i = 0; i < kTotal; ++i) REQUIRE(stored[i] == static_cast<std::int64_t>(i));
  }
}
