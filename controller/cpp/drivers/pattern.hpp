// Random patterns for the surfaces of a simulated scene.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "drivers/random.hpp"

namespace serl_rt {

using Rgb = std::array<double, 3>;  // each of 1

// Draws a checkerboard, waves (the longest are a gradient) or smooth noise, of a random scale, from
// one colour to another into `size` x `size` RGB pixels.
void draw_pattern(Random& random, const Rgb& from, const Rgb& to, int size,
                  std::span<std::uint8_t> pixels) noexcept;

}  // namespace serl_rt
