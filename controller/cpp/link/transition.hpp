// One transition on its way from the policy thread to the link: fixed size, no allocation.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

namespace serl_rt {

struct Transition {
  static constexpr int kMaxObservation = 512;  // floats of a flat observation
  static constexpr int kMaxAction = 32;

  // The first values count: the layout knows how many. Fields in the contract's order, SI units.
  std::array<float, kMaxObservation> observation{};
  std::array<float, kMaxObservation> next_observation{};
  std::array<float, kMaxAction> action{};
  float reward = 0.0F;
  float grasp_penalty = 0.0F;
  std::uint32_t episode = 0;
  std::uint32_t step = 0;
  std::uint64_t policy_version = 0;
  std::int64_t time_ns = 0;  // [ns] robot clock at the next observation
  bool terminated = false;   // success or failure: nothing to bootstrap from
  bool truncated = false;    // time limit or operator: bootstraps
  bool success = false;
  bool intervention = false;  // the action was a person's
  bool evaluation = false;    // of an evaluation episode: not for training
};
static_assert(std::is_trivially_copyable_v<Transition>);

}  // namespace serl_rt
