// An ONNX model that reads from and writes to memory that was chosen beforehand.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "policy/tensors.hpp"

namespace serl_rt {

// Where ONNX Runtime is looked for after $SERL_RT_ONNXRUNTIME and before the system's library path:
// the library of an installed Python package, for example. Call it before the first session.
void set_onnxruntime_hint(const std::filesystem::path& library);

// The version of the library in use; loads it. Throws Error that lists what was tried.
std::string onnxruntime_version();

// Built by any thread, then run by one.
class OnnxModel {
 public:
  // Parses the model; `what` it is begins every error. Throws Error when ONNX Runtime is missing or
  // refuses the model.
  OnnxModel(std::span<const std::byte> model, std::string what);
  ~OnnxModel();
  OnnxModel(OnnxModel&&) noexcept;
  OnnxModel& operator=(OnnxModel&&) noexcept;

  // A value that the exporter put into the file; empty when there is none.
  std::string metadata(const std::string& key) const;
  std::vector<Tensor> inputs() const;
  std::vector<Tensor> outputs() const;

  // Where a run finds an input and leaves an output: tensor.size() elements that outlive the model.
  // Throw Error.
  void bind_input(const Tensor& tensor, void* data);
  void bind_output(const Tensor& tensor, void* data);

  // False: the run failed. Call when everything is bound. Does not throw; ONNX Runtime allocates a
  // little inside.
  bool run() noexcept;

  // Ends a run that takes too long; it then fails. Any thread; the model is of no more use.
  void terminate() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
