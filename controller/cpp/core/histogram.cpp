#include "core/histogram.hpp"

#include <algorithm>
#include <cmath>

namespace serl_rt {

// Values below 32 have a bucket each; above, the leading bit picks the group and the five bits
// after it the bucket.
std::size_t HistogramSnapshot::bucket_of(std::int64_t value) noexcept {
  constexpr std::uint64_t kMost = (std::uint64_t{1} << kValueBits) - 1;
  const auto v = std::min(kMost, static_cast<std::uint64_t>(std::max<std::int64_t>(0, value)));
  const auto width = static_cast<unsigned>(std::bit_width(v));
  const unsigned shift = width > kSubBits + 1 ? width - kSubBits - 1 : 0;
  return (std::size_t{shift} << kSubBits) + (v >> shift);
}

std::int64_t HistogramSnapshot::upper_edge(std::size_t bucket) noexcept {
  constexpr std::uint64_t kSubBuckets = std::uint64_t{1} << kSubBits;
  const std::uint64_t group = bucket / kSubBuckets;
  if (group == 0) return static_cast<std::int64_t>(bucket);
  const std::uint64_t mantissa = bucket % kSubBuckets + kSubBuckets;
  return static_cast<std::int64_t>(((mantissa + 1) << (group - 1)) - 1);
}

std::int64_t HistogramSnapshot::percentile(double p) const noexcept {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(std::clamp(p, 0.0, 1.0) * static_cast<double>(count_));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return i + 1 == kBuckets ? max_ : std::min(upper_edge(i), max_);
  }
  return max_;
}

std::uint64_t HistogramSnapshot::count_above(std::int64_t value) const noexcept {
  std::uint64_t above = 0;
  for (std::size_t i = bucket_of(value) + 1; i < kBuckets; ++i) above += counts_[i];
  return above;
}

void HistogramSnapshot::merge(const HistogramSnapshot& other) noexcept {
  for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

double HistogramSnapshot::mean() const noexcept {
  return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

// Only one thread writes, so load and store do; they spare the locked read-modify-write.
void Histogram::record(std::int64_t nanoseconds) noexcept {
  auto& count = counts_[HistogramSnapshot::bucket_of(nanoseconds)];
  count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  sum_.store(sum_.load(std::memory_order_relaxed) + nanoseconds, std::memory_order_relaxed);
  if (nanoseconds > max_.load(std::memory_order_relaxed)) {
    max_.store(nanoseconds, std::memory_order_relaxed);
  }
}

void Histogram::reset() noexcept {
  for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  sum_.store(0, std::memory_order_relaxed);
  max_.store(0, std::memory_order_relaxed);
}

HistogramSnapshot Histogram::snapshot() const noexcept {
  HistogramSnapshot snapshot;
  for (std::size_t i = 0; i < HistogramSnapshot::kBuckets; ++i) {
    snapshot.counts_[i] = counts_[i].load(std::memory_order_relaxed);
    snapshot.count_ += snapshot.counts_[i];
  }
  snapshot.sum_ = sum_.load(std::memory_order_relaxed);
  snapshot.max_ = max_.load(std::memory_order_relaxed);
  return snapshot;
}

}  // namespace serl_rt
