// What the tests of the simulated arm share: files, the start configuration, a hand that moves.
#pragma once

#include <algorithm>
#include <filesystem>
#include <numbers>

#include "core/impedance.hpp"
#include "core/types.hpp"

namespace serl_rt::test {

inline std::filesystem::path asset(const char* name) {
  return std::filesystem::path(SERL_RT_SOURCE_DIR) / "sim" / "assets" / name;
}

// Tool down, 30 cm above the table.
inline Vec7 home() { return Vec7{0.0, -0.27, 0.0, -2.43, 0.0, 2.16, std::numbers::pi / 4.0}; }

// Cartesian impedance towards a point that moves at constant speed, with the tool as it was first.
class Hand {
 public:
  explicit Hand(const State& state) : reference_(state.O_T_EE), posture_(state.q) {
    gains_.translational_stiffness = 1500.0;
    gains_.translational_damping = 150.0;
    gains_.rotational_damping = 10.0;
    gains_.nullspace_stiffness = 0.2;
    gains_.joint1_nullspace_stiffness = 1.0;
    gains_.translational_clip.setConstant(0.1);
    gains_.translational_clip_neg.setConstant(0.1);
  }

  Vec7 torque_towards(const Vec3& goal, const State& state) {
    const Vec3 way = goal - reference_.position;
    reference_.position += way * std::min(1.0, kSpeed * kTickSeconds / (way.norm() + 1e-9));
    ErrorIntegral none;
    return cartesian_impedance(state, reference_, posture_, gains_, none);
  }

 private:
  static constexpr double kSpeed = 0.2;  // [m/s]
  Pose reference_;
  Vec7 posture_;
  CartesianGains gains_;
};

}  // namespace serl_rt::test
