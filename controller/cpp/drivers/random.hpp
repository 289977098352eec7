// Seeded random numbers that are the same on every machine (the standard distributions are not).
#pragma once

#include <cstdint>

namespace serl_rt {

// SplitMix64 (Steele, Lea and Flood 2014): each seed gives an independent sequence.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  // In [low, high).
  double uniform(double low, double high) noexcept {
    return low + (high - low) * (static_cast<double>(next() >> 11U) * 0x1.0p-53);
  }

 private:
  std::uint64_t state_;
};

}  // namespace serl_rt
