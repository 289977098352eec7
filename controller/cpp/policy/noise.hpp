// Exploration noise: seeded, and the same numbers on every machine with the same libm (the standard
// library's distributions differ between implementations).
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>

#include "drivers/random.hpp"

namespace serl_rt {

// Standard normal numbers by Box and Muller's transform. Not thread safe; neither allocates nor
// throws.
class ExplorationNoise {
 public:
  explicit ExplorationNoise(std::uint64_t seed) noexcept : random_(seed) {}

  void reset(std::uint64_t seed) noexcept { random_ = Random(seed); }

  // Fills `out` with independent numbers, `scale` times standard normal.
  void fill(std::span<float> out, double scale = 1.0) noexcept {
    for (std::size_t i = 0; i < out.size(); i += 2) {
      // 1 - u is in (0, 1]: the logarithm of 0 is not finite.
      const double radius = scale * std::sqrt(-2.0 * std::log(1.0 - random_.uniform(0.0, 1.0)));
      const double angle = random_.uniform(0.0, 2.0 * std::numbers::pi);
      out[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < out.size()) out[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }

 private:
  Random random_;
};

}  // namespace serl_rt
