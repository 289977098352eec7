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

  // Fills `action` from the concatenated observation fields and the noise, (action_dim) standard
  // normal or zero for the deterministic action. False: the run failed, `action` is unchanged.
  // Call after bind(). Does not throw; ONNX Runtime allocates a little inside.
  bool run(std::span<const float> observation, std::span<const float> noise,
           std::span<float> action) noexcept;

  // Ends a run that takes too long; it then fails. Any thread; the session is of no more use.
  void terminate() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
