#include "policy/contract.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <numeric>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "policy/sha256.hpp"

namespace serl_rt {
namespace {

constexpr int kMaxSize = 4096;           // components of one observation field
constexpr double kSmallestRange = 1e-9;  // 1 / range must stay finite in float32

using Names = std::vector<std::string_view>;

std::string quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

// As C's %.9g, whatever the locale.
std::string number(double value) {
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value + 0.0,
                                          std::chars_format::general, 9);
  return {text.data(), end};
}

template <typename T>
std::string numbers(const std::vector<T>& values) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += ',';
    text += number(static_cast<double>(values[i]));
  }
  return text + ']';
}

// Members of a JSON object, given as already printed values, in the order of their keys.
using Members = std::vector<std::pair<std::string, std::string>>;

std::string object(Members members) {
  std::sort(members.begin(), members.end());
  std::string text = "{";
  for (const auto& [key, value] : members) {
    if (text.size() > 1) text += ',';
    text += quoted(key) + ':' + value;
  }
  return text + '}';
}

template <typename T, typename Print>
std::string array(const std::vector<T>& items, Print print) {
  std::string text = "[";
  for (const T& item : items) {
    if (text.size() > 1) text += ',';
    text += print(item);
  }
  return text + ']';
}

std::string print_observation(const ObservationField& field) {
  return object({{"dtype", quoted("float32")},
                 {"frame", quoted(field.frame)},
                 {"high", numbers(field.high)},
                 {"low", numbers(field.low)},
                 {"name", quoted(field.name)},
                 {"shape", numbers(field.shape)},
                 {"unit", quoted(field.unit)}});
}

std::string print_image(const ImageField& image) {
  return object({{"height", number(image.height)},
                 {"name", quoted(image.name)},
                 {"width", number(image.width)}});
}

std::string print_action(const ActionField& field) {
  Members members = {{"name", quoted(field.name)}, {"shape", numbers(field.shape)}};
  if (field.name == "gripper") {
    members.emplace_back("kind", quoted(field.kind));
    if (field.threshold) members.emplace_back("threshold", number(*field.threshold));
    if (!field.scale.empty()) members.emplace_back("scale", number(field.scale.front()));
  } else {
    members.emplace_back("anchor", quoted(field.anchor));
    members.emplace_back("scale", numbers(field.scale));
    if (field.name == "tcp_delta") members.emplace_back("frame", quoted(field.frame));
  }
  return object(std::move(members));
}

// What the checks below say: "<where>.<key> = <value>: must be <allowed>".
[[noreturn]] void refuse(const std::string& where, const std::string& value,
                         const std::string& allowed) {
  throw Error("contract: " + where + " = " + value + ": must be " + allowed);
}

std::string join(const Names& names) {
  std::string text;
  for (const std::string_view name : names) {
    text += (text.empty() ? "" : ", ") + quoted(name);
  }
  return text;
}

void check_choice(const std::string& where, std::string_view value, const Names& allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    refuse(where, quoted(value), "one of " + join(allowed));
  }
}

void check_name(const std::string& where, std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  };
  if (name.empty() || name.size() > 63 || name[0] < 'a' || name[0] > 'z' ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    refuse(where, quoted(name), "1 to 63 of a-z, 0-9 and _, beginning with a letter");
  }
}

void check_range(const std::string& where, const std::vector<double>& values, std::size_t size,
                 double low, double high) {
  if (values.size() != size) {
    refuse(where, numbers(values), std::to_string(size) + " numbers");
  }
  for (const double value : values) {
    if (!(value >= low && value <= high)) {  // also catches NaN
      refuse(where, numbers(values), "finite, from " + number(low) + " to " + number(high));
    }
  }
}

void check_order(const std::string& where, const std::vector<double>& low,
                 const std::vector<double>& high) {
  for (std::size_t i = 0; i < low.size(); ++i) {
    if (!(high[i] - low[i] >= kSmallestRange)) {
      refuse(where + ".high[" + std::to_string(i) + ']', number(high[i]),
             "greater than low = " + number(low[i]) + " by " + number(kSmallestRange) + " or more");
    }
  }
}

void check_computed(const std::string& where, const ObservationField& field) {
  const auto& known = computed_fields();
  const auto found = std::find_if(known.begin(), known.end(),
                                  [&](const ComputedField& c) { return c.name == field.name; });
  if (found == known.end()) return;
  if (field.shape != std::vector<int>{found->size}) {
    refuse(where + ".shape", numbers(field.shape),
           '[' + std::to_string(found->size) + "] for " + field.name);
  }
  check_choice(where + ".unit", field.unit, {found->unit});
  check_choice(where + ".frame", field.frame, found->frames);
}

void check_observation(const std::string& where, const ObservationField& field) {
  constexpr double kLargest = 1e30;
  check_name(where + ".name", field.name);
  const bool positive = std::all_of(field.shape.begin(), field.shape.end(),
                                    [](int n) { return n >= 1 && n <= kMaxSize; });
  if (field.shape.empty() || field.shape.size() > 4 || !positive || field.size() > kMaxSize) {
    refuse(where + ".shape", numbers(field.shape),
           "1 to 4 integers with a product of at most " + std::to_string(kMaxSize));
  }
  check_choice(where + ".unit", field.unit,
               {"1", "m", "m/s", "rad", "rad/s", "N", "Nm", "m,1", "m/s,rad/s", "N,Nm"});
  check_choice(where + ".frame", field.frame, {"", "base", "tool", "start"});
  check_computed(where, field);
  const auto size = static_cast<std::size_t>(field.size());
  check_range(where + ".low", field.low, size, -kLargest, kLargest);
  check_range(where + ".high", field.high, size, -kLargest, kLargest);
  check_order(where, field.low, field.high);
}

void check_gripper(const std::string& where, const ActionField& field) {
  check_choice(where + ".kind", field.kind,
               {"binary", "ternary", "continuous", "continuous_delta"});
  if (field.threshold.has_value() != (field.kind == "binary")) {
    refuse(where + ".threshold", field.threshold ? number(*field.threshold) : "(none)",
           "given for kind = \"binary\" and for no other");
  }
  if (field.threshold) check_range(where + ".threshold", {*field.threshold}, 1, 0.0, 0.99);
  if (field.scale.empty() == (field.kind == "continuous_delta")) {
    refuse(where + ".scale", numbers(field.scale),
           "given for kind = \"continuous_delta\" and for no other");
  }
  if (!field.scale.empty()) check_range(where + ".scale", field.scale, 1, -1.0, 1.0);
}

void check_action(const std::string& where, const ActionField& field) {
  check_choice(where + ".name", field.name, {"tcp_delta", "joint_delta", "gripper"});
  const bool tcp = field.name == "tcp_delta";
  const bool joint = field.name == "joint_delta";
  const std::vector<int> sizes = tcp     ? std::vector<int>{3, 6}
                                 : joint ? std::vector<int>{7}
                                         : std::vector<int>{1};
  if (field.shape.size() != 1 ||
      std::find(sizes.begin(), sizes.end(), field.shape[0]) == sizes.end()) {
    refuse(where + ".shape", numbers(field.shape), "one of " + numbers(sizes));
  }
  if (field.name == "gripper") return check_gripper(where, field);
  if (tcp) check_choice(where + ".frame", field.frame, {"base", "tool"});
  check_choice(where + ".anchor", field.anchor, {"measured", "target"});
  check_range(where + ".scale", field.scale, static_cast<std::size_t>(field.size()), 0.0, 10.0);
}

// What no single field can see: duplicates, reserved names, missing fields.
void check_names(const Contract& contract) {
  if (contract.observation.empty()) refuse("observation", "[]", "at least one field");
  std::set<std::string> seen = {"noise", "action"};
  const auto take = [&](const std::string& name) {
    if (!seen.insert(name).second) {
      refuse("name", quoted(name), "unique, and neither noise nor action");
    }
  };
  for (const auto& field : contract.observation) take(field.name);
  for (const auto& image : contract.images) take(image.name);
  Names names;
  for (const auto& field : contract.action) names.emplace_back(field.name);
  const auto grippers = std::count(names.begin(), names.end(), "gripper");
  if (static_cast<std::ptrdiff_t>(names.size()) - grippers != 1 || grippers > 1) {
    refuse("action", '[' + join(names) + ']',
           "one of tcp_delta and joint_delta, at most one gripper");
  }
}

int product(const std::vector<int>& shape) {
  return std::accumulate(shape.begin(), shape.end(), 1, std::multiplies<>());
}

template <typename Field>
int total(const std::vector<Field>& fields) {
  return std::accumulate(fields.begin(), fields.end(), 0,
                         [](int sum, const Field& field) { return sum + field.size(); });
}

}  // namespace

int ObservationField::size() const { return product(shape); }
std::size_t ImageField::bytes() const {
  return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
}

int ActionField::size() const { return product(shape); }
int Contract::observation_dim() const { return total(observation); }
int Contract::action_dim() const { return total(action); }

std::size_t Contract::image_bytes() const {
  std::size_t bytes = 0;
  for (const ImageField& image : images) bytes += image.bytes();
  return bytes;
}

std::string Contract::canonical_json() const {
  return object({{"action", array(action, print_action)},
                 {"images", array(images, print_image)},
                 {"name", quoted(name)},
                 {"observation", array(observation, print_observation)},
                 {"policy_rate_hz", number(policy_rate_hz)},
                 {"workspace",
                  object({{"high", numbers(workspace_high)}, {"low", numbers(workspace_low)}})}});
}

std::string Contract::id() const { return sha256_hex(canonical_json()); }

const std::vector<ComputedField>& computed_fields() {
  static const std::vector<ComputedField> fields = {
      {"q", 7, "rad", {""}},
      {"dq", 7, "rad/s", {""}},
      {"tau", 7, "Nm", {""}},
      {"tcp_pose", 7, "m,1", {"base"}},
      {"tcp_pose_relative", 7, "m,1", {"start"}},
      {"tcp_position", 3, "m", {"base"}},
      {"tcp_vel", 6, "m/s,rad/s", {"base", "tool"}},
      {"tcp_linear_vel", 3, "m/s", {"base", "tool"}},
      {"tcp_force", 3, "N", {"base", "tool"}},
      {"tcp_torque", 3, "Nm", {"base", "tool"}},
      {"gripper", 1, "1", {""}},
      {"gripper_command", 1, "1", {""}},
  };
  return fields;
}

void validate(const Contract& contract) {
  const auto element = [](const char* list, std::size_t i) {
    return std::string(list) + '[' + std::to_string(i) + ']';
  };
  check_name("name", contract.name);
  check_range("policy_rate_hz", {contract.policy_rate_hz}, 1, 1.0, 1000.0);
  check_range("workspace.low", contract.workspace_low, 3, -10.0, 10.0);
  check_range("workspace.high", contract.workspace_high, 3, -10.0, 10.0);
  check_order("workspace", contract.workspace_low, contract.workspace_high);
  for (std::size_t i = 0; i < contract.observation.size(); ++i) {
    check_observation(element("observation", i), contract.observation[i]);
  }
  for (std::size_t i = 0; i < contract.images.size(); ++i) {
    const ImageField& image = contract.images[i];
    check_name(element("images", i) + ".name", image.name);
    check_range(element("images", i) + ".height", {double(image.height)}, 1, 1, 4096);
    check_range(element("images", i) + ".width", {double(image.width)}, 1, 1, 4096);
  }
  for (std::size_t i = 0; i < contract.action.size(); ++i) {
    check_action(element("action", i), contract.action[i]);
  }
  check_names(contract);
}

}  // namespace serl_rt
