#include "link/command.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

namespace serl_rt {
namespace {

std::string range(double low, double high) {
  std::ostringstream text;
  text << "[" << low << ", " << high << "]";
  return text.str();
}

bool is_number(const Value& value, double low, double high) {
  double number = std::nan("");
  if (value.real() != nullptr) number = *value.real();
  if (value.integer() != nullptr) number = static_cast<double>(*value.integer());
  return number >= low && number <= high;  // false for NaN
}

bool fits(const Parameter& parameter, const Value& value) {
  switch (parameter.type) {
    case Parameter::Type::kNumber:
      return is_number(value, parameter.low, parameter.high);
    case Parameter::Type::kInteger:
      return value.integer() != nullptr && is_number(value, parameter.low, parameter.high);
    case Parameter::Type::kFlag:
      return value.flag() != nullptr;
    case Parameter::Type::kText:
      return value.text() != nullptr &&
             (parameter.choices.empty() ||
              std::find(parameter.choices.begin(), parameter.choices.end(), *value.text()) !=
                  parameter.choices.end());
    default:
      return value.list() != nullptr && value.list()->size() == parameter.length &&
             std::all_of(value.list()->begin(), value.list()->end(), [&](const Value& item) {
               return is_number(item, parameter.low, parameter.high);
             });
  }
}

double as_number(const Value& value) {
  return value.real() != nullptr ? *value.real() : static_cast<double>(*value.integer());
}

std::string describe_all(const std::vector<Parameter>& parameters) {
  std::string text;
  for (const Parameter& parameter : parameters) {
    text += (text.empty() ? "" : "; ") + parameter.describe();
  }
  return text.empty() ? "none" : text;
}

}  // namespace

Parameter Parameter::number(std::string name, double low, double high) {
  return {std::move(name), Type::kNumber, low, high, 0, {}, false};
}

Parameter Parameter::integer(std::string name, std::int64_t low, std::int64_t high) {
  return {std::move(name),
          Type::kInteger,
          static_cast<double>(low),
          static_cast<double>(high),
          0,
          {},
          false};
}

Parameter Parameter::flag(std::string name) { return {std::move(name), Type::kFlag}; }

Parameter Parameter::text(std::string name, std::vector<std::string> choices) {
  Parameter parameter{std::move(name), Type::kText};
  parameter.choices = std::move(choices);
  return parameter;
}

Parameter Parameter::numbers(std::string name, std::size_t length, double low, double high) {
  return {std::move(name), Type::kNumbers, low, high, length, {}, false};
}

Parameter Parameter::or_none() && {
  optional = true;
  return std::move(*this);
}

std::string Parameter::describe() const {
  std::string text = name + ": ";
  switch (type) {
    case Type::kNumber:
      text += "number in " + range(low, high);
      break;
    case Type::kInteger:
      text += "integer in " + range(low, high);
      break;
    case Type::kFlag:
      text += "true or false";
      break;
    case Type::kText:
      if (choices.empty()) text += "text";
      for (const std::string& choice : choices) {
        text += (&choice == &choices.front() ? "" : " or ") + choice;
      }
      break;
    case Type::kNumbers:
      text += std::to_string(length) + " numbers in " + range(low, high);
      break;
  }
  return optional ? text + " (optional)" : text;
}

Arguments::Arguments(const std::vector<Parameter>& parameters, const Value::Map& args)
    : args_(args) {
  for (const auto& [name, value] : args) {
    const auto known = std::find_if(parameters.begin(), parameters.end(),
                                    [&](const Parameter& p) { return p.name == name; });
    if (known == parameters.end()) {
      throw WireError("unknown argument " + name.substr(0, 60) +
                      "; the arguments are: " + describe_all(parameters));
    }
    if (!fits(*known, value)) {
      throw WireError("the argument " + name + " is " + value.to_text() + "; expected " +
                      known->describe());
    }
  }
  for (const Parameter& parameter : parameters) {
    if (!parameter.optional && !has(parameter.name)) {
      throw WireError("an argument is missing: " + parameter.describe());
    }
  }
}

const Value& Arguments::at(std::string_view name) const {
  const Value* value = args_.find(name);
  if (value == nullptr) {
    throw std::logic_error("the argument " + std::string(name) + " was not given: ask has() first");
  }
  return *value;
}

double Arguments::number(std::string_view name) const { return as_number(at(name)); }

std::int64_t Arguments::integer(std::string_view name) const { return *at(name).integer(); }

bool Arguments::flag(std::string_view name) const { return *at(name).flag(); }

const std::string& Arguments::text(std::string_view name) const { return *at(name).text(); }

std::vector<double> Arguments::numbers(std::string_view name) const {
  std::vector<double> numbers;
  for (const Value& item : *at(name).list()) numbers.push_back(as_number(item));
  return numbers;
}

}  // namespace serl_rt
