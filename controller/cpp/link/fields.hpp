// Reads the frames of a message and the fields of its header; whatever is missing or wrong throws a
// WireError naming it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "link/value.hpp"

namespace serl_rt {

std::uint64_t check_integer(const std::string& what, const Value& value, std::uint64_t low,
                            std::uint64_t high);
double check_number(const std::string& what, const Value& value);  // finite
// 1 to 128 letters, digits or any of _ . / -
std::string check_name(const std::string& what, const Value& value);

class Fields {
 public:
  // Throws WireError when the header has no type.
  explicit Fields(Value::Map header);

  const std::string& type() const noexcept { return type_; }

  bool has(std::string_view key) const { return header_.find(key) != nullptr; }
  const Value& at(std::string_view key) const;
  std::uint64_t u64(std::string_view key, std::uint64_t low = 0,
                    std::uint64_t high = UINT64_MAX) const;
  double number(std::string_view key) const;
  bool flag(std::string_view key) const;
  std::string text(std::string_view key) const;
  std::string name(std::string_view key) const;
  std::string hex(std::string_view key, std::size_t digits) const;
  std::string choice(std::string_view key, std::initializer_list<std::string_view> allowed) const;
  Value::Map map(std::string_view key) const;

 private:
  [[noreturn]] void wrong(std::string_view key, const std::string& expected) const;
  std::string path(std::string_view key) const { return type_ + "." + std::string(key); }

  Value header_;
  std::string type_;
};

namespace wire {

using Frames = std::vector<BytesView>;  // views of somebody else's bytes

// The header of a message.
Fields header_of(const Frames& frames);
void expect_frames(const Fields& fields, const Frames& frames, std::size_t expected);
[[noreturn]] void unexpected(const Fields& fields, const char* allowed);

}  // namespace wire
}  // namespace serl_rt
