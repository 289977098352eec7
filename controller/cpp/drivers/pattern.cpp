#include "drivers/pattern.hpp"

#include <cmath>
#include <numbers>

namespace serl_rt {
namespace {

constexpr int kMostCells = 16;  // along an edge

int draw_integer(Random& random, int low, int high) noexcept {
  return static_cast<int>(random.uniform(low, high + 1.0));
}

// How much of the second colour, 0 to 1, is at u, v in [0, 1).
class Checkerboard {
 public:
  explicit Checkerboard(Random& random) noexcept : cells_(draw_integer(random, 2, kMostCells)) {}

  double operator()(double u, double v) const noexcept {
    return (static_cast<int>(u * cells_) + static_cast<int>(v * cells_)) % 2;
  }

 private:
  int cells_;
};

class Waves {
 public:
  explicit Waves(Random& random) noexcept {
    constexpr double kTurn = 2.0 * std::numbers::pi;
    const double direction = random.uniform(0.0, kTurn);
    const double number = std::exp2(random.uniform(-1.0, 3.0));  // across the surface
    along_u_ = kTurn * number * std::cos(direction);
    along_v_ = kTurn * number * std::sin(direction);
    phase_ = random.uniform(0.0, kTurn);
  }

  double operator()(double u, double v) const noexcept {
    return 0.5 + 0.5 * std::sin(along_u_ * u + along_v_ * v + phase_);
  }

 private:
  double along_u_;
  double along_v_;
  double phase_;
};

// Random values at the corners of a grid, smoothly interpolated (value noise).
class Noise {
 public:
  explicit Noise(Random& random) noexcept : cells_(draw_integer(random, 2, kMostCells)) {
    for (auto& row : corners_) {
      for (double& value : row) value = random.uniform(0.0, 1.0);
    }
  }

  double operator()(double u, double v) const noexcept {
    const auto column = static_cast<std::size_t>(u * cells_);
    const auto row = static_cast<std::size_t>(v * cells_);
    const double x = smooth(u * cells_ - static_cast<double>(column));
    const double y = smooth(v * cells_ - static_cast<double>(row));
    const auto& near = corners_[row];
    const auto& far = corners_[row + 1];
    return std::lerp(std::lerp(near[column], near[column + 1], x),
                     std::lerp(far[column], far[column + 1], x), y);
  }

 private:
  static double smooth(double t) noexcept { return t * t * (3.0 - 2.0 * t); }

  int cells_;
  std::array<std::array<double, kMostCells + 1>, kMostCells + 1> corners_;
};

template <typename Weight>
void fill(const Weight& weight, const Rgb& from, const Rgb& to, int size,
          std::span<std::uint8_t> pixels) noexcept {
  std::size_t at = 0;
  for (int row = 0; row < size; ++row) {
    for (int column = 0; column < size; ++column) {
      const double share =
          weight(static_cast<double>(column) / size, static_cast<double>(row) / size);
      for (std::size_t c = 0; c < 3; ++c) {
        pixels[at++] =
            static_cast<std::uint8_t>(std::lround(255.0 * std::lerp(from[c], to[c], share)));
      }
    }
  }
}

}  // namespace

void draw_pattern(Random& random, const Rgb& from, const Rgb& to, int size,
                  std::span<std::uint8_t> pixels) noexcept {
  switch (draw_integer(random, 0, 2)) {
    case 0:
      return fill(Checkerboard(random), from, to, size, pixels);
    case 1:
      return fill(Waves(random), from, to, size, pixels);
    default:
      return fill(Noise(random), from, to, size, pixels);
  }
}

}  // namespace serl_rt
