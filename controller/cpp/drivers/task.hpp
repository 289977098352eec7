// What decides about an episode: where it starts, what only the task can see, what it is worth.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/types.hpp"

namespace serl_rt {

// An observation that the controller cannot compute itself, e.g. the pose of an object.
struct TaskField {
  std::string name;
  int size = 0;
};

struct Outcome {
  double reward = 0.0;
  bool success = false;
  bool failure = false;
};

// Called from the policy thread only.
class Task {
 public:
  virtual ~Task() = default;

  // Starts an episode. Everything random in it follows from `seed`.
  virtual void reset(std::uint64_t seed) = 0;

  virtual const std::vector<TaskField>& fields() const noexcept = 0;

  // Fills one field, `out.size()` values, at the given robot state. Call snapshot() first.
  virtual void observe(std::size_t field, const State& state,
                       std::span<float> out) const noexcept = 0;

  // Takes the newest object poses, so that one step's observations and outcome agree.
  virtual void snapshot() noexcept = 0;

  // Judges the step that just ended.
  virtual Outcome evaluate(const State& state) const noexcept = 0;
};

}  // namespace serl_rt
