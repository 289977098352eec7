// Distribution of durations in fixed buckets: constant memory, no allocation, 3 % resolution.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace serl_rt {

// A copy of a Histogram to compute with.
class HistogramSnapshot {
 public:
  // Value [ns] that a part `p` (0..1) of the samples does not exceed; 0 without samples.
  // Rounded up to the bucket's edge, never above the largest sample.
  std::int64_t percentile(double p) const noexcept;
  // How many samples are longer than `value` [ns], to the resolution.
  std::uint64_t count_above(std::int64_t value) const noexcept;
  void merge(const HistogramSnapshot& other) noexcept;

  std::uint64_t count() const noexcept { return count_; }
  std::int64_t max() const noexcept { return max_; }  // [ns]
  double mean() const noexcept;                       // [ns]

 private:
  friend class Histogram;
  static constexpr unsigned kSubBits = 5;     // 32 buckets per power of two
  static constexpr unsigned kValueBits = 36;  // up to 68 s; longer ones count in the last bucket
  static constexpr std::size_t kBuckets = std::size_t{kValueBits - kSubBits + 1} << kSubBits;

  static std::size_t bucket_of(std::int64_t value) noexcept;
  static std::int64_t upper_edge(std::size_t bucket) noexcept;

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::int64_t sum_ = 0;
  std::int64_t max_ = 0;
};

// One thread records and resets, any thread takes snapshots. Wait-free.
class Histogram {
 public:
  void record(std::int64_t nanoseconds) noexcept;
  void reset() noexcept;
  HistogramSnapshot snapshot() const noexcept;

 private:
  std::array<std::atomic<std::uint64_t>, HistogramSnapshot::kBuckets> counts_{};
  std::atomic<std::int64_t> sum_ = 0;
  std::atomic<std::int64_t> max_ = 0;
};

}  // namespace serl_rt
