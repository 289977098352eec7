#include "link/value.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <msgpack.hpp>

namespace serl_rt {
namespace {

class Packer : public msgpack::packer<msgpack::sbuffer> {
 public:
  explicit Packer(msgpack::sbuffer& buffer) : packer(buffer), buffer_(buffer) {}

  // The library's pack_double() turns 2.0 into the integer 2; a number keeps its type here.
  void pack_real(double value) {
    auto bits = std::bit_cast<std::uint64_t>(value);
    std::array<char, 9> bytes{'\xcb'};
    for (std::size_t i = 8; i > 0; --i, bits >>= 8U) bytes[i] = static_cast<char>(bits & 0xFFU);
    buffer_.write(bytes.data(), bytes.size());
  }

 private:
  msgpack::sbuffer& buffer_;
};

[[noreturn]] void refuse(const std::string& what) { throw WireError("message header: " + what); }

// The length of the valid UTF-8 sequence at `at`, or 0.
std::size_t utf8_sequence(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(at);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80U) return 0;
  }
  const unsigned second = byte(at + 1);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool surrogate = lead == 0xED && second >= 0xA0;
  const bool too_large = lead == 0xF4 && second >= 0x90;
  return overlong || surrogate || too_large ? 0 : length;
}

void check_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_sequence(text, at);
    if (length == 0) refuse("a text is not UTF-8");
    at += length;
  }
}

std::uint32_t checked_items(std::size_t size) {
  if (size > kMaxItems) {
    refuse(std::to_string(size) + " entries in a list or map; at most " +
           std::to_string(kMaxItems));
  }
  return static_cast<std::uint32_t>(size);
}

void pack_text(Packer& packer, const std::string& text) {
  if (text.size() > kMaxText) {
    refuse("a text of " + std::to_string(text.size()) + " bytes; at most " +
           std::to_string(kMaxText));
  }
  check_utf8(text);
  const auto size = static_cast<std::uint32_t>(text.size());
  packer.pack_str(size);
  packer.pack_str_body(text.data(), size);
}

void pack_map(Packer& packer, const Value::Map& map, int depth);

void pack_value(Packer& packer, const Value& value, int depth) {
  if (value.is_null()) {
    packer.pack_nil();
  } else if (const bool* flag = value.flag()) {
    *flag ? packer.pack_true() : packer.pack_false();
  } else if (const std::int64_t* integer = value.integer()) {
    packer.pack_int64(*integer);
  } else if (const std::uint64_t* big = value.big_integer()) {
    packer.pack_uint64(*big);
  } else if (const double* real = value.real()) {
    packer.pack_real(*real);
  } else if (const std::string* text = value.text()) {
    pack_text(packer, *text);
  } else if (const Value::Map* map = value.map()) {
    pack_map(packer, *map, depth);
  } else {
    if (depth >= kMaxDepth) refuse("nested too deeply");
    packer.pack_array(checked_items(value.list()->size()));
    for (const Value& item : *value.list()) pack_value(packer, item, depth + 1);
  }
}

void pack_map(Packer& packer, const Value::Map& map, int depth) {
  if (depth >= kMaxDepth) refuse("nested too deeply");
  packer.pack_map(checked_items(map.size()));
  for (const auto& [key, item] : map) {
    pack_text(packer, key);
    pack_value(packer, item, depth + 1);
  }
}

std::string checked_text(const msgpack::object& object) {
  if (object.type != msgpack::type::STR) refuse("a map key is not text");
  const std::string_view text(object.via.str.ptr, object.via.str.size);
  check_utf8(text);
  return std::string(text);
}

Value::Map convert_map(const msgpack::object& object, int depth);

Value convert(const msgpack::object& object, int depth) {
  switch (object.type) {
    case msgpack::type::NIL:
      return {};
    case msgpack::type::BOOLEAN:
      return object.via.boolean;
    case msgpack::type::POSITIVE_INTEGER:
      return object.via.u64;
    case msgpack::type::NEGATIVE_INTEGER:
      return object.via.i64;
    case msgpack::type::FLOAT32:
    case msgpack::type::FLOAT64:
      return object.via.f64;
    case msgpack::type::STR:
      return checked_text(object);
    case msgpack::type::MAP:
      return convert_map(object, depth);
    case msgpack::type::ARRAY: {
      if (depth >= kMaxDepth) refuse("nested too deeply");
      Value::List list;
      list.reserve(object.via.array.size);
      for (std::uint32_t i = 0; i < object.via.array.size; ++i) {
        list.push_back(convert(object.via.array.ptr[i], depth + 1));
      }
      return list;
    }
    default:
      refuse("binary and extension values are not allowed");
  }
}

Value::Map convert_map(const msgpack::object& object, int depth) {
  if (depth >= kMaxDepth) refuse("nested too deeply");
  Value::Map map;
  map.reserve(object.via.map.size);
  std::vector<std::string_view> keys;
  for (std::uint32_t i = 0; i < object.via.map.size; ++i) {
    const msgpack::object_kv& entry = object.via.map.ptr[i];
    std::string key = checked_text(entry.key);
    map.emplace_back(std::move(key), convert(entry.val, depth + 1));
  }
  for (const auto& entry : map) keys.push_back(entry.first);
  std::sort(keys.begin(), keys.end());
  if (std::adjacent_find(keys.begin(), keys.end()) != keys.end()) refuse("a map key occurs twice");
  return map;
}

}  // namespace

const Value* Value::find(std::string_view key) const noexcept {
  const Map* entries = map();
  if (entries == nullptr) return nullptr;
  for (const auto& [name, value] : *entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string Value::to_text() const {
  if (is_null()) return "null";
  if (const bool* value = flag()) return *value ? "true" : "false";
  if (const std::int64_t* value = integer()) return std::to_string(*value);
  if (const std::uint64_t* value = big_integer()) return std::to_string(*value);
  if (const std::string* value = text()) return '"' + value->substr(0, 60) + '"';
  if (const List* value = list()) return "a list of " + std::to_string(value->size());
  if (const Map* value = map()) return "a map of " + std::to_string(value->size());
  std::array<char, 32> buffer;
  const auto [end, status] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), *real());
  return status == std::errc() ? std::string(buffer.data(), end) : "a number";
}

std::string clean_text(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_sequence(text, at);
    const std::string_view next = length == 0 ? "?" : text.substr(at, length);
    if (result.size() + next.size() > kMaxText) break;
    result += next;
    at += next.size();
  }
  return result;
}

Bytes pack(const Value::Map& map) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  pack_map(packer, map, 0);
  if (buffer.size() > kMaxHeaderBytes) {
    refuse(std::to_string(buffer.size()) + " bytes; at most " + std::to_string(kMaxHeaderBytes));
  }
  const auto* data = reinterpret_cast<const std::byte*>(buffer.data());
  return Bytes(data, data + buffer.size());
}

Value::Map unpack(BytesView bytes) {
  if (bytes.size() > kMaxHeaderBytes) {
    refuse(std::to_string(bytes.size()) + " bytes; at most " + std::to_string(kMaxHeaderBytes));
  }
  const auto refer = [](msgpack::type::object_type, std::size_t, void*) { return true; };
  // The limits bound what a few bytes that claim a huge list could allocate.
  const msgpack::unpack_limit limit(kMaxItems, kMaxItems, kMaxText, 0, 0, kMaxDepth + 1);
  try {
    std::size_t end = 0;
    const msgpack::object_handle handle = msgpack::unpack(
        reinterpret_cast<const char*>(bytes.data()), bytes.size(), end, refer, nullptr, limit);
    if (end != bytes.size()) refuse("bytes after its end");
    if (handle->type != msgpack::type::MAP) refuse("not a map");
    return convert_map(handle.get(), 0);
  } catch (const WireError&) {
    throw;
  } catch (const std::exception& error) {
    refuse(std::string("not valid msgpack: ") + error.what());
  }
}

}  // namespace serl_rt
