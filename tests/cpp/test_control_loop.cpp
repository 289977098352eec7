#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "arm_model.hpp"
#include "core/control_loop.hpp"

using namespace serl_rt;
using test::Random;

namespace {

// The arm with what a connection can do wrong.
class Robot final : public RobotDriver {
 public:
  bool read(State& state) noexcept override {
    if (reads == lost_at_read) return false;
    if (reads == stall_at_read) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ordered = ordered && reads == writes;
    ++reads;
    return arm.read(state);
  }
  bool write(const Vec7& tau) noexcept override {
    if (writes == lost_at_write) return false;
    ordered = ordered && reads == writes + 1;
    ++writes;
    return arm.write(tau);
  }

  test::Arm arm;
  int reads = 0;
  int writes = 0;
  int lost_at_read = -1;
  int lost_at_write = -1;
  int stall_at_read = -1;
  bool ordered = true;  // read and write alternate
};

struct Setup {
  Robot robot;
  Controller controller{ControllerConfig{}};
  ControlLoop loop{robot, controller};

  void send(const Vec3& offset) {
    Target target;
    target.mode = Mode::kCartesianImpedance;
    target.pose = robot.arm.state().O_T_EE;
    target.pose.position += offset;
    target.sequence = 1;
    controller.targets().write(target);
  }
};

}  // namespace

TEST_CASE("a step reads, ticks, writes and publishes the state") {
  Setup setup;
  for (int i = 0; i < 100; ++i) REQUIRE(setup.loop.step());
  CHECK(setup.robot.ordered);
  CHECK(setup.robot.writes == 100);
  CHECK(setup.controller.status().ticks == 100);
  State state;
  REQUIRE(setup.loop.states().read(state));
  CHECK(state.time_ns == 99 * kTickNs);
  CHECK(setup.loop.state().time_ns == state.time_ns);
  CHECK_FALSE(setup.loop.states().read(state));
  const LoopTiming timing = setup.loop.timing();
  CHECK(timing.ticks == 100);
  CHECK(timing.compute.count() == 100);
  CHECK(timing.period.count() == 0);
}

TEST_CASE("a tick's record says when it began and how long the one before took") {
  auto records = std::make_unique<RecordRing>();
  Setup setup;
  setup.controller.set_record_ring(records.get());
  setup.robot.stall_at_read = 2;
  for (int i = 0; i < 4; ++i) REQUIRE(setup.loop.step());
  std::vector<TickRecord> ticks(4);
  for (TickRecord& tick : ticks) REQUIRE(records->try_pop(tick));
  CHECK(ticks[0].timing.period_ns == 0);
  CHECK(ticks[0].timing.compute_ns == 0);
  CHECK(ticks[2].timing.period_ns >= 5'000'000);  // the read that took so long
  for (std::size_t i = 1; i < ticks.size(); ++i) {
    const TickTiming& timing = ticks[i].timing;
    CHECK(timing.monotonic_ns - ticks[i - 1].timing.monotonic_ns == timing.period_ns);
    CHECK(timing.compute_ns > 0);
    CHECK(timing.compute_ns <= timing.period_ns);
  }
}

TEST_CASE("stepping twice the same gives the same, bit by bit") {
  const auto last_state = [] {
    Setup setup;
    setup.send(Vec3(0.05, 0.02, -0.03));
    for (int i = 0; i < 2000; ++i) setup.loop.step();
    return setup.loop.state();
  };
  const State first = last_state();
  const State second = last_state();
  CHECK(first.q == second.q);
  CHECK(first.dq == second.dq);
  CHECK(first.tau_J == second.tau_J);
}

TEST_CASE("a target written before the first step is taken by it, also after a restart") {
  Setup setup;
  setup.send(Vec3(0.05, 0.0, 0.0));
  setup.loop.step();
  CHECK(setup.controller.status().mode == Mode::kCartesianImpedance);
  setup.loop.restart();
  setup.loop.step();
  CHECK(setup.controller.status().mode == Mode::kHold);
  setup.loop.restart();
  setup.send(Vec3(0.05, 0.0, 0.0));
  setup.loop.step();
  CHECK(setup.controller.status().mode == Mode::kCartesianImpedance);
}

TEST_CASE("a driver that is gone ends the loop and is counted") {
  for (const bool at_read : {true, false}) {
    Setup setup;
    (at_read ? setup.robot.lost_at_read : setup.robot.lost_at_write) = 10;
    const std::atomic<bool> stop = false;
    CHECK_FALSE(setup.loop.run(stop));
    CHECK(setup.robot.writes == 10);
    CHECK(setup.controller.faults().count(Fault::kDriverLost) == 1);
  }
}

TEST_CASE("a tick that comes more than two periods after the last is counted late") {
  Setup setup;
  setup.robot.stall_at_read = 50;
  setup.robot.lost_at_read = 100;
  const std::atomic<bool> stop = false;
  setup.loop.run(stop);
  const LoopTiming timing = setup.loop.timing();
  CHECK(timing.period.count() == 99);
  CHECK(timing.late_ticks >= 1);  // more if the machine itself stalls
  CHECK(timing.period.max() >= 5'000'000);
  const FaultCount missed =
      setup.controller.faults().snapshot()[static_cast<std::size_t>(Fault::kMissedTick)];
  CHECK(missed.count == timing.late_ticks);
  CHECK(missed.limit == doctest::Approx(2e-3));
  CHECK(missed.value > missed.limit);
}

TEST_CASE("another thread steers a running loop, watches it, and stops it at rest") {
  Setup setup;
  std::atomic<bool> stop = false;
  std::atomic<bool> result = false;
  setup.send(Vec3(0.05, 0.0, 0.0));
  std::thread control([&] { result = setup.loop.run(stop); });

  // Everything that other threads may do, until the arm is on its way.
  State state;
  CartesianGains gains;
  Target target;
  target.mode = Mode::kCartesianImpedance;
  std::uint64_t ticks = 0;
  std::uint64_t loop_ticks = 0;
  bool ordered = true;
  while (ticks < 20'000) {
    const ControllerStatus status = setup.controller.status();
    ordered = ordered && status.ticks >= ticks;
    ticks = status.ticks;
    if (setup.loop.states().read(state)) {
      target.pose = state.O_T_EE;
      target.pose.position.y() += 0.02;
      ++target.sequence;
      setup.controller.targets().write(target);
    }
    gains.translational_stiffness = gains.translational_stiffness == 2000.0 ? 1000.0 : 2000.0;
    setup.controller.gains().write(gains);
    const std::uint64_t counted = setup.loop.timing().ticks;
    ordered = ordered && counted >= loop_ticks;
    loop_ticks = counted;
  }
  stop = true;
  control.join();
  CHECK(result);
  CHECK(ordered);
  CHECK(setup.controller.status().stopped);
  CHECK(setup.loop.state().dq.cwiseAbs().maxCoeff() <= 0.05);
  CHECK(setup.controller.status().ticks == setup.loop.timing().ticks);
}

TEST_CASE("a histogram's percentiles are those of the samples, within its resolution") {
  Random random(71);
  Histogram histogram;
  std::vector<std::int64_t> samples;
  for (int i = 0; i < 20'000; ++i) {
    const auto value = static_cast<std::int64_t>(std::pow(10.0, random.uniform(0.0, 9.0)));
    samples.push_back(value);
    histogram.record(value);
  }
  std::sort(samples.begin(), samples.end());
  const HistogramSnapshot snapshot = histogram.snapshot();
  CHECK(snapshot.count() == samples.size());
  CHECK(snapshot.max() == samples.back());
  for (const double p : {0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank =
        static_cast<std::size_t>(std::max(1.0, std::ceil(p * static_cast<double>(samples.size()))));
    const std::int64_t exact = samples[rank - 1];
    CHECK(snapshot.percentile(p) >= exact);
    CHECK(static_cast<double>(snapshot.percentile(p)) <= static_cast<double>(exact) * 1.032);
  }
}

TEST_CASE("a histogram knows each single duration to 3 percent") {
  Random random(72);
  for (int i = 0; i < 2000; ++i) {
    const auto value = static_cast<std::int64_t>(std::pow(10.0, random.uniform(0.0, 9.0)));
    Histogram histogram;
    histogram.record(value);
    histogram.record(std::int64_t{1} << 35);  // else the largest sample would give it away
    const std::int64_t median = histogram.snapshot().percentile(0.5);
    REQUIRE(median >= value);
    REQUIRE(static_cast<double>(median) <= static_cast<double>(value) * (1.0 + 1.0 / 32.0));
  }
}

TEST_CASE("a histogram takes any duration, merges and resets") {
  Histogram histogram;
  CHECK(histogram.snapshot().percentile(0.5) == 0);
  CHECK(histogram.snapshot().mean() == 0.0);
  histogram.record(-5);  // a clock that went back
  histogram.record(std::int64_t{1} << 62);
  CHECK(histogram.snapshot().count() == 2);
  CHECK(histogram.snapshot().percentile(0.5) == 0);
  CHECK(histogram.snapshot().percentile(1.0) == std::int64_t{1} << 62);
  histogram.reset();
  CHECK(histogram.snapshot().count() == 0);
  CHECK(histogram.snapshot().max() == 0);

  Histogram other;
  for (int i = 0; i < 10; ++i) histogram.record(20);
  for (int i = 0; i < 10; ++i) other.record(30);
  HistogramSnapshot both = histogram.snapshot();
  both.merge(other.snapshot());
  CHECK(both.count() == 20);
  CHECK(both.mean() == 25.0);
  CHECK(both.percentile(0.5) == 20);
  CHECK(both.percentile(0.51) == 30);
  CHECK(both.max() == 30);
}
