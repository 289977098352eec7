// The tensors that a policy takes and gives: what a contract asks for, against what a model has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "policy/contract.hpp"

namespace serl_rt {

enum class Element { kFloat, kByte, kOther };

struct Tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  Element element = Element::kOther;

  std::size_t size() const;  // elements
};

// uint8 (1, height, width, 3).
Tensor image_tensor(const ImageField& image);

// The fields, the images, the noise.
std::vector<Tensor> expected_inputs(const Contract& contract);
std::vector<Tensor> expected_outputs(const Contract& contract);

// Throws Error unless both sides have the same tensors, in any order. `side` begins the error:
// "policy: input".
void check_tensors(const std::string& side, const std::vector<Tensor>& found,
                   const std::vector<Tensor>& expected);

}  // namespace serl_rt
