#include "policy/session.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "policy/tensors.hpp"

namespace serl_rt {

void PolicySession::bind(const Contract& contract) {
  const std::vector<Tensor> inputs = expected_inputs(contract);
  const std::vector<Tensor> outputs = expected_outputs(contract);
  check_tensors("policy: input", model_.inputs(), inputs);
  check_tensors("policy: output", model_.outputs(), outputs);
  observation_.resize(static_cast<std::size_t>(contract.observation_dim()));
  images_.resize(contract.image_bytes());
  noise_.resize(static_cast<std::size_t>(contract.action_dim()));
  action_.resize(noise_.size());
  float* field = observation_.data();
  std::byte* image = images_.data();
  for (const Tensor& tensor : inputs) {
    if (tensor.name == "noise") {
      model_.bind_input(tensor, noise_.data());
    } else if (tensor.element == Element::kByte) {
      model_.bind_input(tensor, image);
      image += tensor.size();
    } else {
      model_.bind_input(tensor, field);
      field += tensor.size();
    }
  }
  model_.bind_output(outputs.front(), action_.data());
}

bool PolicySession::run(const PolicyInput& input, std::span<float> action) noexcept {
  if (input.observation.size() != observation_.size() || input.noise.size() != noise_.size() ||
      input.images.size() != images_.size() || action.size() != action_.size()) {
    return false;
  }
  std::copy(input.observation.begin(), input.observation.end(), observation_.begin());
  std::copy(input.noise.begin(), input.noise.end(), noise_.begin());
  if (!images_.empty()) std::memcpy(images_.data(), input.images.data(), images_.size());
  if (!model_.run()) return false;
  std::copy(action_.begin(), action_.end(), action.begin());
  return true;
}

}  // namespace serl_rt
