#include "link/fields.hpp"

#include <algorithm>
#include <cmath>

namespace serl_rt {
namespace {

[[noreturn]] void refuse(const std::string& what, const Value& value, const std::string& expected) {
  throw WireError(what + " is " + value.to_text() + "; expected " + expected);
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '/' || c == '-';
}

bool is_hex_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

std::uint64_t check_integer(const std::string& what, const Value& value, std::uint64_t low,
                            std::uint64_t high) {
  std::uint64_t integer = 0;
  bool valid = true;
  if (const std::int64_t* small = value.integer(); small != nullptr && *small >= 0) {
    integer = static_cast<std::uint64_t>(*small);
  } else if (const std::uint64_t* big = value.big_integer()) {
    integer = *big;
  } else {
    valid = false;
  }
  if (!valid || integer < low || integer > high) {
    refuse(what, value,
           "an integer in [" + std::to_string(low) + ", " + std::to_string(high) + "]");
  }
  return integer;
}

double check_number(const std::string& what, const Value& value) {
  double number = std::nan("");
  if (const double* real = value.real()) number = *real;
  if (const std::int64_t* integer = value.integer()) number = static_cast<double>(*integer);
  if (!std::isfinite(number)) refuse(what, value, "a finite number");
  return number;
}

std::string check_name(const std::string& what, const Value& value) {
  const std::string* text = value.text();
  if (text == nullptr || text->empty() || text->size() > 128 ||
      !std::all_of(text->begin(), text->end(), is_name_character)) {
    refuse(what, value, "1 to 128 letters, digits or any of _ . / -");
  }
  return *text;
}

Fields::Fields(Value::Map header) : header_(std::move(header)) {
  const Value* type = header_.find("type");
  if (type == nullptr || type->text() == nullptr)
    throw WireError("a message header lacks its type");
  type_ = *type->text();
}

const Value& Fields::at(std::string_view key) const {
  const Value* value = header_.find(key);
  if (value == nullptr) throw WireError(type_.substr(0, 60) + " lacks " + std::string(key));
  return *value;
}

std::uint64_t Fields::u64(std::string_view key, std::uint64_t low, std::uint64_t high) const {
  return check_integer(path(key), at(key), low, high);
}

double Fields::number(std::string_view key) const { return check_number(path(key), at(key)); }

bool Fields::flag(std::string_view key) const {
  const bool* flag = at(key).flag();
  if (flag == nullptr) wrong(key, "true or false");
  return *flag;
}

std::string Fields::text(std::string_view key) const {
  const std::string* text = at(key).text();
  if (text == nullptr) wrong(key, "text");
  return *text;
}

std::string Fields::name(std::string_view key) const { return check_name(path(key), at(key)); }

std::string Fields::hex(std::string_view key, std::size_t digits) const {
  const std::string* text = at(key).text();
  if (text == nullptr || text->size() != digits ||
      !std::all_of(text->begin(), text->end(), is_hex_digit)) {
    wrong(key, std::to_string(digits) + " lower-case hex digits");
  }
  return *text;
}

std::string Fields::choice(std::string_view key,
                           std::initializer_list<std::string_view> allowed) const {
  const std::string* text = at(key).text();
  std::string names;
  for (const std::string_view choice : allowed) {
    if (text != nullptr && *text == choice) return *text;
    names += (names.empty() ? "" : " or ") + std::string(choice);
  }
  wrong(key, names);
}

Value::Map Fields::map(std::string_view key) const {
  const Value::Map* map = at(key).map();
  if (map == nullptr) wrong(key, "a map");
  return *map;
}

void Fields::wrong(std::string_view key, const std::string& expected) const {
  refuse(path(key), at(key), expected);
}

namespace wire {

Fields header_of(const Frames& frames) {
  if (frames.empty()) throw WireError("an empty message");
  return Fields(unpack(frames[0]));
}

void expect_frames(const Fields& fields, const Frames& frames, std::size_t expected) {
  if (frames.size() == expected) return;
  throw WireError(fields.type() + " has " + std::to_string(frames.size()) + " frames; expected " +
                  std::to_string(expected));
}

void unexpected(const Fields& fields, const char* allowed) {
  throw WireError("unexpected message type \"" + fields.type().substr(0, 60) +
                  "\"; expected one of " + allowed);
}

}  // namespace wire
}  // namespace serl_rt
