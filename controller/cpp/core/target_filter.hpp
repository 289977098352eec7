// Turns targets that come at the policy's rate into a smooth 1 kHz reference.
// Called from the 1 kHz thread: no locks, no allocation, no throw.
#pragma once

#include <string>

#include "core/impedance.hpp"
#include "core/types.hpp"

namespace serl_rt {

struct TargetFilterConfig {
  enum class Kind : std::uint8_t {
    kFirstOrder,  // each tick covers dt / time_constant_s of what is left (SERL: 0.2 s)
    kLinear,      // constant speed, arrives after duration_s
    kMinJerk,     // minimum jerk, arrives after duration_s
  };
  Kind kind = Kind::kFirstOrder;
  double time_constant_s = 0.2;  // [s] kFirstOrder; 0: the reference is the target
  double duration_s = 0.1;       // [s] kLinear, kMinJerk: usually the policy's period
};

// Empty, or what is wrong. Ranges: time_constant_s [0, 10], duration_s [0.001, 10].
std::string validate(const TargetFilterConfig& config);

// Minimum-jerk position from 0 to 1 and its derivative, for time x in [0, 1]:
// 10 x^3 - 15 x^4 + 6 x^5 (Flash and Hogan 1985).
double min_jerk(double x) noexcept;
double min_jerk_rate(double x) noexcept;
inline constexpr double kMinJerkPeakRate = 1.875;  // at x = 1/2

// Part of the remaining way to cover in each tick. The same for positions and, along the
// geodesic, for orientations; which is what makes the filters below one line each.
class Blend {
 public:
  explicit Blend(const TargetFilterConfig& config) noexcept;

  void restart() noexcept { tick_ = 0; }  // a new target
  double next() noexcept;                 // 0..1, one tick

  // Largest speed of the reference on the way to a target that far away. [unit/s]
  double peak_speed(double distance) const noexcept { return distance * peak_rate_; }

 private:
  TargetFilterConfig::Kind kind_;
  double factor_ = 1.0;  // kFirstOrder
  int ticks_ = 1;        // the others
  int tick_ = 0;
  double covered_ = 0.0;    // part of the way at tick_
  double peak_rate_ = 0.0;  // [1/s]
};

class PoseFilter {
 public:
  explicit PoseFilter(const TargetFilterConfig& config) noexcept : blend_(config) {}

  void reset(const Pose& pose) noexcept;  // reference and target become `pose`
  void set_target(const Pose& target) noexcept;
  const Pose& advance() noexcept;  // one tick

  const Pose& reference() const noexcept { return reference_; }
  const Pose& target() const noexcept { return target_; }
  const Blend& blend() const noexcept { return blend_; }

 private:
  Blend blend_;
  Pose reference_;
  Pose target_;
};

class JointFilter {
 public:
  explicit JointFilter(const TargetFilterConfig& config) noexcept : blend_(config) {}

  void reset(const Vec7& q) noexcept;
  void set_target(const Vec7& target) noexcept;
  const Vec7& advance() noexcept;

  const Vec7& reference() const noexcept { return reference_; }
  const Blend& blend() const noexcept { return blend_; }

 private:
  Blend blend_;
  Vec7 reference_ = Vec7::Zero();
  Vec7 target_ = Vec7::Zero();
};

// First-order filter of the scalar gains. The clips change at once, as SERL's do: a tighter
// bound on the contact force must not wait.
class GainFilter {
 public:
  GainFilter(const CartesianGains& gains, double time_constant_s) noexcept;

  void reset(const CartesianGains& gains) noexcept;
  void set_target(const CartesianGains& target) noexcept;
  const CartesianGains& advance() noexcept;

 private:
  double factor_;
  CartesianGains gains_;
  CartesianGains target_;
};

}  // namespace serl_rt
