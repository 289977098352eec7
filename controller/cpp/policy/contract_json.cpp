// Reads a contract from JSON; the only file of this folder that sees the JSON library.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/types.hpp"
#include "policy/contract.hpp"

namespace serl_rt {
namespace {

using Json = nlohmann::json;

// One JSON object whose keys are all known; errors name the place.
class Object {
 public:
  Object(const Json& json, std::string where, std::initializer_list<const char*> keys)
      : json_(json), where_(std::move(where)) {
    if (!json.is_object()) throw Error("contract: " + where_ + " must be a JSON object");
    for (const auto& [key, value] : json.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        throw Error("contract: " + where_ + ": unknown key \"" + key + '"');
      }
    }
  }

  bool has(const char* key) const { return json_.contains(key); }

  std::string text(const char* key) const {
    const Json& value = at(key);
    if (!value.is_string()) fail(key, "a string");
    return value.get<std::string>();
  }

  std::string text(const char* key, const char* fallback) const {
    return has(key) ? text(key) : fallback;
  }

  double number(const char* key) const {
    if (!at(key).is_number()) fail(key, "a number");
    return at(key).get<double>();
  }

  int integer(const char* key) const { return to_int(at(key), key); }

  std::vector<double> numbers(const char* key) const {
    std::vector<double> values;
    for (const Json& item : list(key)) {
      if (!item.is_number()) fail(key, "a list of numbers");
      values.push_back(item.get<double>());
    }
    return values;
  }

  std::vector<int> integers(const char* key) const {
    std::vector<int> values;
    for (const Json& item : list(key)) values.push_back(to_int(item, key));
    return values;
  }

  const Json& list(const char* key) const {
    if (!at(key).is_array()) fail(key, "a list");
    return at(key);
  }

  const Json& at(const char* key) const {
    if (!json_.contains(key)) throw Error("contract: " + where_ + '.' + key + " is missing");
    return json_.at(key);
  }

 private:
  [[noreturn]] void fail(const char* key, const char* allowed) const {
    throw Error("contract: " + where_ + '.' + key + " must be " + allowed);
  }

  int to_int(const Json& value, const char* key) const {
    if (!value.is_number_integer()) fail(key, "an integer");
    const auto wide = value.get<std::int64_t>();
    if (wide < -1'000'000 || wide > 1'000'000) fail(key, "at most a million");
    return static_cast<int>(wide);
  }

  const Json& json_;
  std::string where_;
};

ObservationField read_observation(const Json& json) {
  const Object object(json, "observation",
                      {"dtype", "frame", "high", "low", "name", "shape", "unit"});
  if (const std::string dtype = object.text("dtype", "float32"); dtype != "float32") {
    throw Error("contract: observation.dtype = \"" + dtype + "\": must be \"float32\"");
  }
  return {.name = object.text("name"),
          .shape = object.integers("shape"),
          .unit = object.text("unit"),
          .frame = object.text("frame"),
          .low = object.numbers("low"),
          .high = object.numbers("high")};
}

ImageField read_image(const Json& json) {
  const Object object(json, "images", {"height", "name", "width"});
  return {.name = object.text("name"),
          .height = object.integer("height"),
          .width = object.integer("width")};
}

ActionField read_action(const Json& json) {
  const Object object(json, "action",
                      {"anchor", "frame", "kind", "name", "scale", "shape", "threshold"});
  ActionField field;
  field.name = object.text("name");
  if (object.has("shape") || field.name == "tcp_delta") field.shape = object.integers("shape");
  if (field.name == "gripper") {
    const Object gripper(json, "action.gripper", {"kind", "name", "scale", "shape", "threshold"});
    if (field.shape.empty()) field.shape = {1};
    field.kind = gripper.text("kind");
    if (gripper.has("threshold")) field.threshold = gripper.number("threshold");
    if (gripper.has("scale")) field.scale = {gripper.number("scale")};
  } else {
    const Object delta(json, "action.delta", {"anchor", "frame", "name", "scale", "shape"});
    if (field.shape.empty()) field.shape = {kJoints};
    field.anchor = delta.text("anchor", "measured");
    field.scale = delta.numbers("scale");
    if (field.name == "tcp_delta") field.frame = delta.text("frame", "base");
  }
  return field;
}

Contract read_contract(const Json& json) {
  const Object object(json, "contract",
                      {"action", "images", "name", "observation", "policy_rate_hz", "workspace"});
  const Object workspace(object.at("workspace"), "workspace", {"high", "low"});
  Contract contract;
  contract.name = object.text("name");
  contract.policy_rate_hz = object.number("policy_rate_hz");
  contract.workspace_low = workspace.numbers("low");
  contract.workspace_high = workspace.numbers("high");
  for (const Json& item : object.list("observation")) {
    contract.observation.push_back(read_observation(item));
  }
  if (object.has("images")) {
    for (const Json& item : object.list("images")) contract.images.push_back(read_image(item));
  }
  for (const Json& item : object.list("action")) contract.action.push_back(read_action(item));
  return contract;
}

}  // namespace

Contract contract_from_json(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw Error("contract: not valid JSON");
  Contract contract = read_contract(json);
  validate(contract);
  return contract;
}

}  // namespace serl_rt
