// The arm itself: replace this by the bus or the library of yours. Here it is a simulation of seven
// joints that have an inertia and friction, each by itself, and that keep 1 kHz by the wall clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>

#include "core/types.hpp"

namespace own_arm {

struct JointSample {
  std::uint64_t time_ms = 0;  // of the arm's own clock
  serl_rt::Vec7 q, dq, tau;   // [rad, rad/s, Nm] measured; tau without gravity
};

class ArmHardware {
 public:
  // Connects and switches the motors on. Throws std::runtime_error: nobody answers.
  explicit ArmHardware(const std::string& address) {
    if (address.empty()) throw std::runtime_error("the arm's address is empty");
    next_ = std::chrono::steady_clock::now();
  }

  // Waits for the next millisecond. False: the arm has stopped itself.
  bool receive(JointSample& sample) noexcept {
    next_ += std::chrono::milliseconds(1);
    std::this_thread::sleep_until(next_);
    ++time_ms_;
    sample = {time_ms_, q_, dq_, tau_};
    return (dq_.array().abs() < kFastest).all();
  }

  // The arm adds what holds its own weight.
  void send(const serl_rt::Vec7& tau) noexcept {
    const serl_rt::Vec7 inertia{1.8, 1.8, 0.9, 0.9, 0.3, 0.3, 0.1};   // [kg m^2]
    const serl_rt::Vec7 friction{1.0, 1.0, 0.5, 0.5, 0.2, 0.2, 0.1};  // [Nm s/rad]
    tau_ = tau;
    dq_ += 1e-3 * (tau - friction.cwiseProduct(dq_)).cwiseQuotient(inertia);
    q_ += 1e-3 * dq_;
  }

 private:
  static constexpr double kFastest = 4.0;  // [rad/s] then the arm stops itself

  std::chrono::steady_clock::time_point next_;
  std::uint64_t time_ms_ = 0;
  serl_rt::Vec7 q_{0.0, 0.6, 0.0, -1.6, 0.0, 0.9416, 0.0};  // [rad] the tool points down
  serl_rt::Vec7 dq_ = serl_rt::Vec7::Zero();
  serl_rt::Vec7 tau_ = serl_rt::Vec7::Zero();
};

}  // namespace own_arm
