// A seven-joint arm for the tests of the core: forward kinematics of the FR3, and constant joint
// inertias, so that no Coriolis torque exists and the kinetic energy is known exactly.
#pragma once

#include <array>
#include <cmath>
#include <numbers>
#include <random>

#include "core/types.hpp"
#include "drivers/driver.hpp"

namespace serl_rt::test {

inline const Vec7 kHome{0.0, -0.27, 0.0, -2.43, 0.0, 2.16, std::numbers::pi / 4.0};

// Craig's Denavit-Hartenberg parameters from Franka's manual; frame 8 is the flange.
struct Kinematics {
  Pose tcp;
  Jacobian jacobian;
};

inline Kinematics kinematics(const Vec7& q) {
  constexpr double kRight = std::numbers::pi / 2.0;
  struct Link {
    double a, d, alpha;
  };
  constexpr std::array<Link, 7> kLinks{{{0.0, 0.333, 0.0},
                                        {0.0, 0.0, -kRight},
                                        {0.0, 0.316, kRight},
                                        {0.0825, 0.0, kRight},
                                        {-0.0825, 0.384, -kRight},
                                        {0.0, 0.0, kRight},
                                        {0.088, 0.0, kRight}}};
  constexpr double kFlange = 0.107;
  Eigen::Isometry3d frame = Eigen::Isometry3d::Identity();
  std::array<Vec3, 7> axis;
  std::array<Vec3, 7> origin;
  for (int i = 0; i < kJoints; ++i) {
    frame = frame * Eigen::AngleAxisd(kLinks[i].alpha, Vec3::UnitX()) *
            Eigen::Translation3d(kLinks[i].a, 0.0, 0.0) * Eigen::AngleAxisd(q[i], Vec3::UnitZ()) *
            Eigen::Translation3d(0.0, 0.0, kLinks[i].d);
    axis[i] = frame.linear().col(2);
    origin[i] = frame.translation();
  }
  frame = frame * Eigen::Translation3d(0.0, 0.0, kFlange);
  Kinematics result;
  result.tcp.position = frame.translation();
  result.tcp.orientation = Quat(frame.linear());
  for (int i = 0; i < kJoints; ++i) {
    result.jacobian.col(i) << axis[i].cross(frame.translation() - origin[i]), axis[i];
  }
  return result;
}

inline State state_at(const Vec7& q, const Vec7& dq = Vec7::Zero()) {
  const Kinematics now = kinematics(q);
  State state;
  state.q = q;
  state.dq = dq;
  state.O_T_EE = now.tcp;
  state.zero_jacobian = now.jacobian;
  return state;
}

class Arm final : public RobotDriver {
 public:
  explicit Arm(const Vec7& q = kHome) { place(q); }

  void place(const Vec7& q) {
    q_ = q;
    dq_.setZero();
    tau_.setZero();
  }
  void set_velocity(const Vec7& dq) { dq_ = dq; }

  State state() const {
    State state = state_at(q_, dq_);
    state.time_ns = time_ns_;
    state.tau_J = tau_;
    state.tau_J_d = tau_;
    return state;
  }

  // One tick of `dt` under `tau`: velocity first, then position with the new velocity.
  void step(const Vec7& tau, double dt = kTickSeconds) {
    dq_ += dt * tau.cwiseQuotient(inertia());
    q_ += dt * dq_;
    tau_ = tau;
    time_ns_ += kTickNs;
  }

  bool read(State& state) noexcept override {
    state = this->state();
    return true;
  }
  bool write(const Vec7& tau) noexcept override {
    step(tau);
    return true;
  }

  static Vec7 inertia() { return Vec7{2.0, 2.0, 1.5, 1.0, 0.3, 0.3, 0.2}; }  // [kg m^2]

 private:
  Vec7 q_ = Vec7::Zero();
  Vec7 dq_ = Vec7::Zero();
  Vec7 tau_ = Vec7::Zero();
  std::int64_t time_ns_ = 0;
};

// Random values; a fixed seed for each test case.
class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}

  double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine_);
  }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }

  template <class Vector>
  Vector vector(double low, double high) {
    Vector values;
    for (Eigen::Index i = 0; i < values.size(); ++i) values[i] = uniform(low, high);
    return values;
  }

  Quat rotation(double max_angle = std::numbers::pi) {
    const Vec3 axis = vector<Vec3>(-1.0, 1.0).normalized();
    return Quat(Eigen::AngleAxisd(uniform(-max_angle, max_angle), axis));
  }

  // Joint positions well inside the limits of the FR3.
  Vec7 configuration() { return kHome + vector<Vec7>(-0.5, 0.5); }

  State state() {
    State state = state_at(configuration(), vector<Vec7>(-1.0, 1.0));
    state.coriolis = vector<Vec7>(-2.0, 2.0);
    return state;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace serl_rt::test
