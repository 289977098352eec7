// A command that the controller understands: its name, its arguments, what it does.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "link/value.hpp"

namespace serl_rt {

// What one argument must be, e.g. Parameter::number("speed", 0.0, 1.0).
struct Parameter {
  enum class Type { kNumber, kInteger, kFlag, kText, kNumbers };

  std::string name;
  Type type = Type::kText;
  double low = -std::numeric_limits<double>::infinity();  // numbers and integers, both inclusive
  double high = std::numeric_limits<double>::infinity();
  std::size_t length = 0;              // of kNumbers
  std::vector<std::string> choices{};  // of kText; empty: any
  bool optional = false;

  static Parameter number(std::string name, double low, double high);
  static Parameter integer(std::string name, std::int64_t low, std::int64_t high);
  static Parameter flag(std::string name);
  static Parameter text(std::string name, std::vector<std::string> choices = {});
  static Parameter numbers(std::string name, std::size_t length, double low, double high);
  Parameter or_none() &&;  // may be left out

  std::string describe() const;  // e.g. "speed: number in [0, 1]"
};

// The arguments of one call, checked. Asking for what was not declared is a programming error and
// throws std::logic_error.
class Arguments {
 public:
  // Throws WireError that names the argument and lists what is allowed: one is missing, unknown or
  // not what its parameter says.
  Arguments(const std::vector<Parameter>& parameters, const Value::Map& args);

  bool has(std::string_view name) const noexcept { return args_.find(name) != nullptr; }
  double number(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  bool flag(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  std::vector<double> numbers(std::string_view name) const;

 private:
  const Value& at(std::string_view name) const;

  Value args_;
};

struct CommandSpec {
  std::string name;
  std::string summary;  // one line for people
  std::vector<Parameter> parameters;
  // Called on the command server's thread. Its result is sent back; an exception's text is the
  // error of the reply.
  std::function<Value(const Arguments&)> run;
  // Takes longer than a moment: runs on the thread of the slow ones, one after the other, so that
  // the others (a stop!) never wait for it.
  bool slow = false;
};

}  // namespace serl_rt
