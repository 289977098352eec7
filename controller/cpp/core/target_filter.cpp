#include "core/target_filter.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace serl_rt {
namespace {

double first_order_factor(double time_constant_s) noexcept {
  return time_constant_s > kTickSeconds ? kTickSeconds / time_constant_s : 1.0;
}

std::string outside(const char* name, double value, const char* range) {
  std::ostringstream text;
  text << name << " = " << value << " is outside " << range << " s";
  return text.str();
}

}  // namespace

std::string validate(const TargetFilterConfig& config) {
  if (!(config.time_constant_s >= 0.0 && config.time_constant_s <= 10.0)) {
    return outside("filter time_constant_s", config.time_constant_s, "[0, 10]");
  }
  if (!(config.duration_s >= kTickSeconds && config.duration_s <= 10.0)) {
    return outside("filter duration_s", config.duration_s, "[0.001, 10]");
  }
  return {};
}

double min_jerk(double x) noexcept { return x * x * x * (10.0 + x * (-15.0 + 6.0 * x)); }

double min_jerk_rate(double x) noexcept {
  const double rest = x * (1.0 - x);
  return 30.0 * rest * rest;
}

Blend::Blend(const TargetFilterConfig& config) noexcept : kind_(config.kind) {
  switch (kind_) {
    case TargetFilterConfig::Kind::kFirstOrder:
      factor_ = first_order_factor(config.time_constant_s);
      peak_rate_ = factor_ / kTickSeconds;
      break;
    case TargetFilterConfig::Kind::kLinear:
    case TargetFilterConfig::Kind::kMinJerk:
      ticks_ = std::max(1, static_cast<int>(std::lround(config.duration_s / kTickSeconds)));
      peak_rate_ = 1.0 / (ticks_ * kTickSeconds);
      if (kind_ == TargetFilterConfig::Kind::kMinJerk) peak_rate_ *= kMinJerkPeakRate;
      break;
  }
}

double Blend::next() noexcept {
  if (kind_ == TargetFilterConfig::Kind::kFirstOrder) return factor_;
  if (tick_ == 0) covered_ = 0.0;
  if (tick_ == ticks_) return 1.0;  // arrived
  ++tick_;
  const double x = static_cast<double>(tick_) / ticks_;
  const double covered = kind_ == TargetFilterConfig::Kind::kLinear ? x : min_jerk(x);
  const double part = (covered - covered_) / (1.0 - covered_);
  covered_ = covered;
  return part;
}

void PoseFilter::reset(const Pose& pose) noexcept {
  reference_ = pose;
  target_ = pose;
  blend_.restart();
}

void PoseFilter::set_target(const Pose& target) noexcept {
  target_ = target;
  blend_.restart();
}

const Pose& PoseFilter::advance() noexcept {
  const double part = blend_.next();
  reference_.position += part * (target_.position - reference_.position);
  reference_.orientation = reference_.orientation.slerp(part, target_.orientation).normalized();
  return reference_;
}

void JointFilter::reset(const Vec7& q) noexcept {
  reference_ = q;
  target_ = q;
  blend_.restart();
}

void JointFilter::set_target(const Vec7& target) noexcept {
  target_ = target;
  blend_.restart();
}

const Vec7& JointFilter::advance() noexcept {
  reference_ += blend_.next() * (target_ - reference_);
  return reference_;
}

GainFilter::GainFilter(const CartesianGains& gains, double time_constant_s) noexcept
    : factor_(first_order_factor(time_constant_s)), gains_(gains), target_(gains) {}

void GainFilter::reset(const CartesianGains& gains) noexcept {
  gains_ = gains;
  target_ = gains;
}

void GainFilter::set_target(const CartesianGains& target) noexcept {
  target_ = target;
  for (const GainField& field : kGainFields) {
    if (field.axes != nullptr) gains_.*field.axes = target.*field.axes;
  }
}

const CartesianGains& GainFilter::advance() noexcept {
  for (const GainField& field : kGainFields) {
    if (field.scalar == nullptr) continue;
    double& gain = gains_.*field.scalar;
    gain += factor_ * (target_.*field.scalar - gain);
  }
  return gains_;
}

}  // namespace serl_rt
