// One loaded policy: an ONNX model and everything that a run needs, allocated beforehand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "policy/contract.hpp"

namespace serl_rt {

// Where ONNX Runtime is looked for after $SERL_RT_ONNXRUNTIME and before the system's library path:
// the library of an installed Python package, for example. Call it before the first session.
void set_onnxruntime_hint(const std::filesystem::path& library);

// The version of the library in use; loads it. Throws Error that lists what was tried.
std::string onnxruntime_version();

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
  explicit PolicySession(std::span<const std::byte> model);
  ~PolicySession();
  PolicySession(PolicySession&&) noexcept;
  PolicySession& operator=(PolicySession&&) noexcept;

  // A value that the exporter put into the file; empty when there is none.
  std::string metadata(const std::string& key) const;

  // Checks names, shapes and types of inputs and outputs against the contract and prepares run().
  // Throws Error that names the tensor and what is expected.
  void bind(const Contract& contract);

  // Fills `action`, (action_dim). False: the run failed or a size is wrong, `action` is unchanged.
  // Call after bind(). Does not throw; ONNX Runtime allocates a little inside.
  bool run(const PolicyInput& input, std::span<float> action) noexcept;

  // Ends a run that takes too long; it then fails. Any thread; the session is of no more use.
  void terminate() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
