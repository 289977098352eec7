// The tensors that a policy takes and gives: what a contract asks for, against what a model has.
#pragma once

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
};

// The fields, the images, the noise.
std::vector<Tensor> expected_inputs(const Contract& contract);
std::vector<Tensor> expected_outputs(const Contract& contract);

// Throws Error unless both sides have the same tensors, in any order. `side`: "input" or "output".
void check_tensors(const char* side, const std::vector<Tensor>& found,
                   const std::vector<Tensor>& expected);

}  // namespace serl_rt
