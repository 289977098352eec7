// What a policy sees and does, as both languages understand it (docs/architecture.md section 4).
// The counterpart of export/contract.py: the same values give the same contract id.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace serl_rt {

// One named input of the policy, float32, SI units.
struct ObservationField {
  std::string name;
  std::vector<int> shape;
  std::string unit;
  std::string frame;
  std::vector<double> low;  // expected range per component, C order: to normalise, not to clip
  std::vector<double> high;

  int size() const;
};

// One camera image, uint8 RGB of shape (height, width, 3).
struct ImageField {
  std::string name;
  int height = 0;
  int width = 0;

  std::size_t bytes() const;
};

// One part of the action; every component is in [-1, 1].
struct ActionField {
  std::string name;                 // tcp_delta | joint_delta | gripper
  std::vector<int> shape;           // [3] or [6]; [7]; [1]
  std::vector<double> scale;        // [m, rad] per component; gripper: one, for continuous_delta
  std::string frame;                // tcp_delta: base | tool
  std::string anchor;               // deltas: measured | target
  std::string kind;                 // gripper: binary | ternary | continuous | continuous_delta
  std::optional<double> threshold;  // gripper, binary

  int size() const;
};

struct Contract {
  std::string name;
  double policy_rate_hz = 0.0;
  std::vector<double> workspace_low;   // (3) [m] base frame
  std::vector<double> workspace_high;  // (3) [m]
  std::vector<ObservationField> observation;
  std::vector<ImageField> images;
  std::vector<ActionField> action;

  int observation_dim() const;  // components of all fields, concatenated in order
  int action_dim() const;
  std::size_t image_bytes() const;  // of all images, one after the other

  // The one text of this contract: keys sorted, no spaces, numbers as %.9g.
  std::string canonical_json() const;
  std::string id() const;  // SHA-256 of the canonical JSON, 64 hex digits
};

// An observation that the controller computes from the robot's state.
struct ComputedField {
  std::string_view name;
  int size;
  std::string_view unit;
  std::vector<std::string_view> frames;
};
const std::vector<ComputedField>& computed_fields();

// Throws Error that names the field, the value and what is allowed.
void validate(const Contract& contract);

// Reads and validates: the canonical JSON of a policy file, or a task file's table as JSON, which
// may leave out dtype, images, an action's frame and anchor, and the shape where there is only one.
// Throws Error when the text is not JSON, a key is unknown or missing, or a value is not allowed.
Contract contract_from_json(std::string_view text);

}  // namespace serl_rt
