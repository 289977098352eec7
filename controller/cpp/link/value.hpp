// Free-form values of message headers, as msgpack: what JSON can say, plus 64-bit integers.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.hpp"

namespace serl_rt {

using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

// A message that breaks the protocol. The text says which value, and what is allowed.
class WireError : public Error {
 public:
  using Error::Error;
};

class Value {
 public:
  using List = std::vector<Value>;
  using Map = std::vector<std::pair<std::string, Value>>;  // in the order of the wire, keys unique

  Value() = default;  // null
  Value(bool value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(List value) : data_(std::move(value)) {}
  Value(Map value) : data_(std::move(value)) {}
  template <std::signed_integral T>
  Value(T value) : data_(std::int64_t{value}) {}
  template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>)
  Value(T value) {
    if (value <= std::uint64_t{INT64_MAX}) {
      data_ = static_cast<std::int64_t>(value);
    } else {
      data_ = std::uint64_t{value};
    }
  }

  bool is_null() const noexcept { return std::holds_alternative<std::monostate>(data_); }
  const bool* flag() const noexcept { return std::get_if<bool>(&data_); }
  const std::int64_t* integer() const noexcept { return std::get_if<std::int64_t>(&data_); }
  const std::uint64_t* big_integer() const noexcept { return std::get_if<std::uint64_t>(&data_); }
  const double* real() const noexcept { return std::get_if<double>(&data_); }
  const std::string* text() const noexcept { return std::get_if<std::string>(&data_); }
  const List* list() const noexcept { return std::get_if<List>(&data_); }
  const Map* map() const noexcept { return std::get_if<Map>(&data_); }

  // An entry of a map; null when this is no map or lacks the key.
  const Value* find(std::string_view key) const noexcept;

  // Short form for messages to people.
  std::string to_text() const;

  bool operator==(const Value&) const = default;

 private:
  // std::uint64_t only holds what std::int64_t cannot, so that equal numbers compare equal.
  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, List, Map>
      data_;
};

inline constexpr std::size_t kMaxHeaderBytes = std::size_t{64} * 1024;
inline constexpr std::size_t kMaxText = 4096;
inline constexpr std::size_t kMaxItems = 4096;
inline constexpr int kMaxDepth = 17;  // the header and 16 levels of lists and maps in it

// Any text as one that may be sent: what is not UTF-8 becomes '?', what is too long is cut.
std::string clean_text(std::string_view text);

// msgpack of a map, shortest form of every number. Throws WireError for text that is not
// UTF-8 and beyond the limits above.
Bytes pack(const Value::Map& map);

// The map in `bytes`. Throws WireError for anything else: other types, keys that are not text or
// occur twice, text that is not UTF-8, sizes beyond the limits above, trailing bytes.
Value::Map unpack(BytesView bytes);

}  // namespace serl_rt
