#include "policy/tensors.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

const char* to_string(Element element) noexcept {
  switch (element) {
    case Element::kFloat:
      return "float32";
    case Element::kByte:
      return "uint8";
    case Element::kOther:
      break;
  }
  return "(neither float32 nor uint8)";
}

std::string describe(const Tensor& tensor) {
  std::string shape;
  for (const std::int64_t n : tensor.shape) {
    shape += (shape.empty() ? "" : ", ") + (n < 0 ? std::string("?") : std::to_string(n));
  }
  return tensor.name + " " + to_string(tensor.element) + " (" + shape + ")";
}

}  // namespace

std::size_t Tensor::size() const {
  std::size_t count = 1;
  for (const std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
  return count;
}

Tensor image_tensor(const ImageField& image) {
  return {image.name, {1, image.height, image.width, 3}, Element::kByte};
}

std::vector<Tensor> expected_inputs(const Contract& contract) {
  std::vector<Tensor> tensors;
  for (const ObservationField& field : contract.observation) {
    Tensor tensor{field.name, {1}, Element::kFloat};
    tensor.shape.insert(tensor.shape.end(), field.shape.begin(), field.shape.end());
    tensors.push_back(std::move(tensor));
  }
  for (const ImageField& image : contract.images) {
    tensors.push_back(image_tensor(image));
  }
  tensors.push_back({"noise", {1, contract.action_dim()}, Element::kFloat});
  return tensors;
}

std::vector<Tensor> expected_outputs(const Contract& contract) {
  return {{"action", {1, contract.action_dim()}, Element::kFloat}};
}

void check_tensors(const std::string& side, const std::vector<Tensor>& found,
                   const std::vector<Tensor>& expected) {
  const auto named = [](const std::vector<Tensor>& tensors, const std::string& name) {
    return std::find_if(tensors.begin(), tensors.end(),
                        [&](const Tensor& tensor) { return tensor.name == name; });
  };
  for (const Tensor& tensor : expected) {
    const auto match = named(found, tensor.name);
    if (match == found.end()) {
      throw Error(side + " " + describe(tensor) + " is missing");
    }
    if (match->shape != tensor.shape || match->element != tensor.element) {
      throw Error(side + " is " + describe(*match) + ": must be " + describe(tensor));
    }
  }
  for (const Tensor& tensor : found) {
    if (named(expected, tensor.name) == expected.end()) {
      throw Error(side + " " + describe(tensor) + " is not in the contract");
    }
  }
}

}  // namespace serl_rt
