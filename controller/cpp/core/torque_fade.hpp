// Makes the change from one law to another bumpless: neither the torque nor its rate steps.
// Called from the 1 kHz thread: no locks, no allocation, no throw.
#pragma once

#include "core/target_filter.hpp"
#include "core/types.hpp"

namespace serl_rt {

// What the new law lacks of the torque before is added and fades out along a minimum-jerk curve;
// the rate that the torque had goes on for a moment and fades out sooner.
class TorqueFade {
 public:
  explicit TorqueFade(double duration_s) noexcept : duration_s_(duration_s) { cancel(); }

  // `last`: commanded in the tick before, `step`: its change in that tick, `first`: the new law's.
  void begin(const Vec7& last, const Vec7& step, const Vec7& first) noexcept {
    const bool usable = last.allFinite() && step.allFinite() && first.allFinite();
    difference_ = usable ? Vec7(last - first) : Vec7(Vec7::Zero());
    step_ = usable ? step : Vec7(Vec7::Zero());
    ticks_ = 0.0;
  }
  void cancel() noexcept { ticks_ = duration_s_ / kTickSeconds; }

  // What to add in this tick.
  Vec7 next() noexcept {
    const double length = duration_s_ / kTickSeconds;
    if (ticks_ >= length) return Vec7::Zero();
    const Vec7 sum = left(length) * difference_ + (ticks_ + 1.0) * left(length / 3.0) * step_;
    ticks_ += 1.0;
    return sum;
  }

 private:
  double left(double length) const noexcept {
    return ticks_ < length ? 1.0 - min_jerk(ticks_ / length) : 0.0;
  }

  double duration_s_;
  double ticks_ = 0.0;
  Vec7 difference_ = Vec7::Zero();
  Vec7 step_ = Vec7::Zero();  // [Nm] per tick
};

}  // namespace serl_rt
