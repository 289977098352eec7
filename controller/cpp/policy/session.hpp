// One loaded policy: an ONNX model and everything that a run needs, allocated beforehand.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "policy/contract.hpp"
#include "policy/onnx_model.hpp"

namespace serl_rt {

// What a policy acts on.
struct PolicyInput {
  std::span<const float> observation;  // the contract's fields, one after the other, SI units
  std::span<const float> noise;        // (action_dim) standard normal, or zero: deterministic
  std::span<const std::byte> images;   // the contract's images, one after the other, uint8 RGB
};

// Built by a loader thread, then used by the policy thread alone.
class PolicySession {
 public:
  // Parses the model. Throws Error when ONNX Runtime is missing or refuses the model.
  explicit PolicySession(std::span<const std::byte> model) : model_(model, "policy") {}

  // A value that the exporter put into the file; empty when there is none.
  std::string metadata(const std::string& key) const { return model_.metadata(key); }

  // Checks names, shapes and types of inputs and outputs against the contract and prepares run().
  // Throws Error that names the tensor and what is expected.
  void bind(const Contract& contract);

  // Fills `action`, (action_dim). False: the run failed or a size is wrong, `action` is unchanged.
  // Call after bind(). Does not throw; ONNX Runtime allocates a little inside.
  bool run(const PolicyInput& input, std::span<float> action) noexcept;

  // Ends a run that takes too long; it then fails. Any thread; the session is of no more use.
  void terminate() noexcept { model_.terminate(); }

 private:
  // Where the model reads and writes; every input is a slice of the buffer of its kind.
  std::vector<float> observation_;
  std::vector<std::byte> images_;
  std::vector<float> noise_;
  std::vector<float> action_;
  OnnxModel model_;
};

}  // namespace serl_rt
