// Everything the controller refuses or limits has a name, a count, and the last value and limit.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace serl_rt {

enum class Fault : std::uint8_t {
  // A target was refused; the arm keeps following the last accepted one.
  kTargetInvalid,             // not finite, or the quaternion is not of unit length
  kTargetOutsideWorkspace,    // [m] coordinate, bound
  kTargetOutsideJointLimits,  // [rad] joint position, bound
  kTargetTooFast,             // [m/s or rad/s] peak speed towards it, limit
  kTargetWhileStopped,        // the arm was stopped: a hold, a joint move or hand guiding ends that
  kTargetNotInCharge,         // a policy's while an operator is in charge, or the reverse
  kMoveTooFast,               // [s] requested duration, shortest allowed
  kGainsOutOfRange,
  // The arm went to hold.
  kTargetStale,         // [s] age past the deadline, 0
  kStopRequested,       // somebody called Controller::request_stop()
  kJointPositionLimit,  // [rad] measured, limit
  kJointVelocityLimit,  // [rad/s] measured, limit
  kStateNonFinite,      // the torque ramps down to zero meanwhile
  // A torque was changed.
  kTorqueNonFinite,    // replaced by a ramp down to zero
  kTorqueClamped,      // [Nm] demanded, limit
  kTorqueRateLimited,  // [Nm] demanded step from the last tick, limit
  // The policy's output was not used.
  kPolicyNonFinite,
  kPolicyOutOfRange,  // component, 1
  kPolicyLate,        // [s] duration, allowed
  kImageStale,        // [s] age of the oldest camera's image, allowed: no action was asked for
  // The loop.
  kDriverLost,  // read or write failed
  kMissedTick,  // [s] period, limit
};
inline constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::kMissedTick) + 1;

std::string_view to_string(Fault fault) noexcept;

// A fault with what was found and what is allowed, in the unit of the fault's comment.
struct Refusal {
  Fault fault;
  double value = 0.0;
  double limit = 0.0;
};

// The faults of one tick.
class FaultSet {
 public:
  constexpr void add(Fault fault) noexcept { bits_ |= bit(fault); }
  constexpr bool has(Fault fault) const noexcept { return (bits_ & bit(fault)) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  constexpr std::uint32_t bits() const noexcept { return bits_; }

 private:
  static_assert(kFaults <= 32);
  static constexpr std::uint32_t bit(Fault fault) noexcept {
    return std::uint32_t{1} << static_cast<unsigned>(fault);
  }
  std::uint32_t bits_ = 0;
};

struct FaultCount {
  std::uint64_t count = 0;
  double value = 0.0;  // of the last occurrence
  double limit = 0.0;
};
using FaultSnapshot = std::array<FaultCount, kFaults>;  // index: the fault's number

// Any thread may raise and read. Wait-free. Value and limit of a snapshot may belong to two
// different occurrences when one happens during the snapshot; the counts are exact.
class FaultCounters {
 public:
  void raise(Fault fault, double value = 0.0, double limit = 0.0) noexcept {
    Entry& entry = entries_[static_cast<std::size_t>(fault)];
    entry.value.store(value, std::memory_order_relaxed);
    entry.limit.store(limit, std::memory_order_relaxed);
    entry.count.fetch_add(1, std::memory_order_relaxed);
  }

  std::uint64_t count(Fault fault) const noexcept {
    return entries_[static_cast<std::size_t>(fault)].count.load(std::memory_order_relaxed);
  }

  FaultSnapshot snapshot() const noexcept;

 private:
  static_assert(std::atomic<double>::is_always_lock_free);
  struct Entry {
    std::atomic<std::uint64_t> count = 0;
    std::atomic<double> value = 0.0;
    std::atomic<double> limit = 0.0;
  };
  std::array<Entry, kFaults> entries_{};
};

// Counts a tick's faults and remembers which they were. Lives for one tick, on its thread.
class TickFaults {
 public:
  explicit TickFaults(FaultCounters& counters) noexcept : counters_(counters) {}

  void raise(Fault fault, double value = 0.0, double limit = 0.0) noexcept {
    counters_.raise(fault, value, limit);
    set_.add(fault);
  }
  void raise(const Refusal& refusal) noexcept {
    raise(refusal.fault, refusal.value, refusal.limit);
  }

  FaultSet set() const noexcept { return set_; }

 private:
  FaultCounters& counters_;
  FaultSet set_;
};

}  // namespace serl_rt
