// Reads the golden messages of tests/golden/wire: frames, each preceded by its length as u32.
#pragma once

#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "link/value.hpp"

namespace serl_rt {

inline std::vector<Bytes> read_golden(const std::string& name) {
  const std::string path = std::string(SERL_RT_SOURCE_DIR) + "/tests/golden/wire/" + name + ".bin";
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path);
  const std::string data{std::istreambuf_iterator<char>(stream), {}};
  std::vector<Bytes> frames;
  for (std::size_t at = 0; at < data.size();) {
    std::uint32_t size = 0;
    std::memcpy(&size, data.data() + at, sizeof(size));
    const auto* begin = reinterpret_cast<const std::byte*>(data.data()) + at + sizeof(size);
    frames.emplace_back(begin, begin + size);
    at += sizeof(size) + size;
  }
  return frames;
}

inline std::vector<BytesView> views(const std::vector<Bytes>& frames) {
  return {frames.begin(), frames.end()};
}

inline Bytes to_bytes(BytesView view) { return {view.begin(), view.end()}; }

inline Bytes to_bytes(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

inline const std::string kGoldenRunId = "0123456789abcdef0123456789abcdef";

// What decoding says is wrong; empty: nothing.
template <class Decode>
std::string error_of(const Decode& decode, const std::vector<Bytes>& frames) {
  try {
    decode(views(frames));
  } catch (const WireError& error) {
    return error.what();
  }
  return "";
}

}  // namespace serl_rt
