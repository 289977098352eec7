#include <doctest/doctest.h>

#include <cmath>

#include "arm_model.hpp"
#include "core/target_filter.hpp"

using namespace serl_rt;
using test::Random;
using Kind = TargetFilterConfig::Kind;

namespace {

constexpr Kind kKinds[] = {Kind::kFirstOrder, Kind::kLinear, Kind::kMinJerk};

TargetFilterConfig config_of(Kind kind) {
  TargetFilterConfig config;
  config.kind = kind;
  return config;
}

Pose random_pose(Random& random) { return {random.vector<Vec3>(-1.0, 1.0), random.rotation()}; }

double angle(const Pose& a, const Pose& b) { return a.orientation.angularDistance(b.orientation); }

}  // namespace

TEST_CASE("after a reset the reference is the pose and stays") {
  Random random(41);
  for (const Kind kind : kKinds) {
    PoseFilter filter(config_of(kind));
    const Pose pose = random_pose(random);
    filter.reset(pose);
    for (int i = 0; i < 300; ++i) {
      const Pose& reference = filter.advance();
      REQUIRE((reference.position - pose.position).norm() < 1e-12);
      REQUIRE(angle(reference, pose) < 1e-7);
    }
  }
}

TEST_CASE("the first-order filter is SERL's: 0.005 of the rest per tick, in position and angle") {
  Random random(42);
  PoseFilter filter(TargetFilterConfig{});
  const Pose start = random_pose(random);
  const Pose target = random_pose(random);
  filter.reset(start);
  filter.set_target(target);
  const double way = angle(start, target);
  for (int n = 1; n <= 1000; ++n) {
    const Pose& reference = filter.advance();
    const double left = std::pow(1.0 - 0.005, n);
    const Vec3 expected = target.position + left * (start.position - target.position);
    REQUIRE((reference.position - expected).norm() < 1e-12);
    REQUIRE(angle(reference, target) == doctest::Approx(left * way).epsilon(1e-6));
    REQUIRE(std::abs(reference.orientation.norm() - 1.0) < 1e-12);
  }
}

TEST_CASE("a time constant of zero means no filter") {
  Random random(43);
  TargetFilterConfig config;
  config.time_constant_s = 0.0;
  PoseFilter filter(config);
  filter.reset(random_pose(random));
  const Pose target = random_pose(random);
  filter.set_target(target);
  CHECK((filter.advance().position - target.position).norm() < 1e-12);
}

TEST_CASE("an interpolation arrives exactly after its duration, along the straight way") {
  Random random(44);
  for (const Kind kind : {Kind::kLinear, Kind::kMinJerk}) {
    for (const double duration : {0.001, 0.005, 0.1, 0.25}) {
      TargetFilterConfig config = config_of(kind);
      config.duration_s = duration;
      PoseFilter filter(config);
      const Pose start = random_pose(random);
      const Pose target = random_pose(random);
      filter.reset(start);
      filter.set_target(target);
      const int ticks = static_cast<int>(std::lround(duration / kTickSeconds));
      for (int n = 1; n <= ticks; ++n) {
        const Pose& reference = filter.advance();
        const double x = static_cast<double>(n) / ticks;
        const double covered = kind == Kind::kLinear ? x : min_jerk(x);
        const Vec3 expected = start.position + covered * (target.position - start.position);
        REQUIRE((reference.position - expected).norm() < 1e-9);
        REQUIRE(std::abs(angle(start, reference) - covered * angle(start, target)) < 1e-6);
      }
      CHECK((filter.reference().position - target.position).norm() < 1e-12);
      CHECK(angle(filter.reference(), target) < 1e-7);
      filter.advance();
      CHECK((filter.reference().position - target.position).norm() < 1e-12);
    }
  }
}

TEST_CASE("targets at any time: the reference never jumps and keeps to the promised peak speed") {
  Random random(45);
  for (const Kind kind : kKinds) {
    PoseFilter filter(config_of(kind));
    filter.reset(random_pose(random));
    double linear = 0.0;
    double angular = 0.0;
    for (int i = 0; i < 5000; ++i) {
      if (random.integer(0, 60) == 0) {
        const Pose target = random_pose(random);
        linear = filter.blend().peak_speed((target.position - filter.reference().position).norm());
        angular = filter.blend().peak_speed(angle(filter.reference(), target));
        filter.set_target(target);
      }
      const Pose before = filter.reference();
      const Pose& after = filter.advance();
      REQUIRE((after.position - before.position).norm() <= linear * kTickSeconds * 1.0001 + 1e-12);
      REQUIRE(angle(before, after) <= angular * kTickSeconds * 1.0001 + 1e-6);
    }
  }
}

TEST_CASE("joint references follow the same blend") {
  Random random(46);
  for (const Kind kind : kKinds) {
    JointFilter filter(config_of(kind));
    PoseFilter poses(config_of(kind));
    const Vec7 start = random.configuration();
    const Vec7 goal = random.configuration();
    filter.reset(start);
    poses.reset({start.head<3>(), Quat::Identity()});
    filter.set_target(goal);
    poses.set_target({goal.head<3>(), Quat::Identity()});
    for (int i = 0; i < 200; ++i) {
      REQUIRE((filter.advance().head<3>() - poses.advance().position).norm() < 1e-12);
    }
  }
}

TEST_CASE("min_jerk goes from 0 to 1, at rest at both ends, fastest in the middle") {
  CHECK(min_jerk(0.0) == 0.0);
  CHECK(min_jerk(1.0) == 1.0);
  CHECK(min_jerk(0.5) == doctest::Approx(0.5));
  CHECK(min_jerk_rate(0.0) == 0.0);
  CHECK(min_jerk_rate(1.0) == 0.0);
  CHECK(min_jerk_rate(0.5) == doctest::Approx(kMinJerkPeakRate));
  for (double x = 0.001; x < 1.0; x += 0.001) {
    const double numeric = (min_jerk(x + 1e-6) - min_jerk(x - 1e-6)) / 2e-6;
    REQUIRE(min_jerk_rate(x) == doctest::Approx(numeric).epsilon(1e-6));
    REQUIRE(min_jerk_rate(x) <= kMinJerkPeakRate);
  }
}

TEST_CASE("scalar gains move first order, clips at once") {
  CartesianGains first;
  CartesianGains second;
  second.translational_stiffness = 1000.0;
  second.rotational_damping = 9.0;
  second.translational_clip.setConstant(0.003);
  GainFilter filter(first, 0.2);
  CHECK(filter.advance().translational_stiffness == 2000.0);
  filter.set_target(second);
  CHECK(filter.advance().translational_clip == second.translational_clip);
  CHECK(filter.advance().translational_stiffness ==
        doctest::Approx(1000.0 + 1000.0 * 0.995 * 0.995));
  for (int i = 0; i < 5000; ++i) filter.advance();
  CHECK(filter.advance().translational_stiffness == doctest::Approx(1000.0));
  CHECK(filter.advance().rotational_damping == doctest::Approx(9.0));
  filter.reset(first);
  CHECK(filter.advance().translational_stiffness == 2000.0);
}

TEST_CASE("filter settings outside their range are named") {
  CHECK(validate(TargetFilterConfig{}).empty());
  TargetFilterConfig config;
  config.time_constant_s = -1.0;
  CHECK(validate(config).find("filter time_constant_s = -1") == 0);
  config = TargetFilterConfig{};
  config.duration_s = 0.0;
  CHECK(validate(config).find("filter duration_s = 0") == 0);
}
