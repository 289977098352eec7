#include "app/mcap_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <span>
#include <string_view>

#include "core/error.hpp"
#include "policy/file_pieces.hpp"

namespace serl_rt {
namespace {

constexpr std::string_view kMagic{"\x89MCAP0\r\n", 8};

enum Opcode : std::uint8_t {
  kHeader = 0x01,
  kFooter = 0x02,
  kSchema = 0x03,
  kChannel = 0x04,
  kMessage = 0x05,
  kChunk = 0x06,
  kMessageIndex = 0x07,
  kChunkIndex = 0x08,
  kStatistics = 0x0B,
  kMetadata = 0x0C,
  kMetadataIndex = 0x0D,
  kSummaryOffset = 0x0E,
  kDataEnd = 0x0F,
};

void append_record(ByteWriter& out, Opcode opcode, const ByteWriter& content) {
  out.integer<std::uint8_t>(opcode);
  out.integer<std::uint64_t>(content.size());
  out.raw(content.bytes().data(), content.size());
}

// CRC-32 as zlib computes it.
std::uint32_t crc32(const std::vector<std::uint8_t>& bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> values{};
    for (std::uint32_t i = 0; i < values.size(); ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) * 0xEDB88320U);
      values[i] = value;
    }
    return values;
  }();
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const std::uint8_t byte : bytes) crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

void put_counts(ByteWriter& out, const std::map<std::uint16_t, std::uint64_t>& counts) {
  out.integer<std::uint32_t>(static_cast<std::uint32_t>(counts.size() * 10));
  for (const auto& [channel, count] : counts) {
    out.integer(channel);
    out.integer(count);
  }
}

}  // namespace

void ByteWriter::raw(const void* data, std::size_t size) {
  const auto* begin = static_cast<const std::uint8_t*>(data);
  bytes_.insert(bytes_.end(), begin, begin + size);
}

void ByteWriter::text(std::string_view text) {
  integer<std::uint32_t>(static_cast<std::uint32_t>(text.size()));
  raw(text.data(), text.size());
}

void ByteWriter::texts(const std::map<std::string, std::string>& texts) {
  ByteWriter inner;
  for (const auto& [key, value] : texts) {
    inner.text(key);
    inner.text(value);
  }
  text({reinterpret_cast<const char*>(inner.bytes().data()), inner.size()});
}

McapWriter::McapWriter(const std::filesystem::path& file, const std::string& library)
    : file_(file), descriptor_(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) {
    throw Error("the recording " + file.string() +
                " could not be created: " + std::strerror(errno));
  }
  ByteWriter bytes;
  bytes.raw(kMagic.data(), kMagic.size());
  ByteWriter header;
  header.text("");  // no profile: not a ROS bag
  header.text(library);
  append_record(bytes, kHeader, header);
  put(bytes);
}

McapWriter::~McapWriter() {
  try {
    if (!failed_) close();
  } catch (const Error&) {  // the chunks before are in the file
  }
  if (descriptor_ >= 0) ::close(descriptor_);
}

void McapWriter::put(const ByteWriter& bytes) {
  if (!write_in_pieces(descriptor_, std::as_bytes(std::span(bytes.bytes())))) {
    failed_ = true;
    throw Error("the recording " + file_.string() +
                " could not be written: " + std::strerror(errno));
  }
  position_ += bytes.size();
}

std::uint16_t McapWriter::add_schema(const std::string& name, const std::string& encoding,
                                     const std::string& text) {
  const auto id = static_cast<std::uint16_t>(schemas_.size() + 1);
  ByteWriter content;
  content.integer(id);
  content.text(name);
  content.text(encoding);
  content.text(text);
  append_record(schemas_.emplace_back(), kSchema, content);
  put(schemas_.back());
  return id;
}

std::uint16_t McapWriter::add_channel(std::uint16_t schema, const std::string& topic,
                                      const std::string& message_encoding) {
  const auto id = static_cast<std::uint16_t>(channels_.size() + 1);
  ByteWriter content;
  content.integer(id);
  content.integer(schema);
  content.text(topic);
  content.text(message_encoding);
  content.texts({});
  append_record(channels_.emplace_back(), kChannel, content);
  put(channels_.back());
  message_counts_[id] = 0;
  return id;
}

void McapWriter::add_metadata(const std::string& name,
                              const std::map<std::string, std::string>& values) {
  ByteWriter content;
  content.text(name);
  content.texts(values);
  ByteWriter record;
  append_record(record, kMetadata, content);
  flush();
  metadata_.push_back({position_, record.size(), name});
  put(record);
}

void McapWriter::write(std::uint16_t channel, std::uint64_t log_time_ns,
                       const std::vector<std::uint8_t>& message) {
  if (chunk_.size() == 0) {
    chunk_start_time_ = chunk_end_time_ = log_time_ns;
  } else {
    chunk_start_time_ = std::min(chunk_start_time_, log_time_ns);
    chunk_end_time_ = std::max(chunk_end_time_, log_time_ns);
  }
  chunk_times_[channel].emplace_back(log_time_ns, chunk_.size());
  chunk_.integer<std::uint8_t>(kMessage);
  chunk_.integer<std::uint64_t>(22 + message.size());
  chunk_.integer(channel);
  chunk_.integer(static_cast<std::uint32_t>(message_counts_[channel]++));
  chunk_.integer(log_time_ns);
  chunk_.integer(log_time_ns);
  chunk_.raw(message.data(), message.size());
  if (chunk_.size() >= kChunkBytes) flush();
}

void McapWriter::flush() {
  if (chunk_.size() == 0) return;
  ByteWriter out;
  out.integer<std::uint8_t>(kChunk);
  out.integer<std::uint64_t>(8 + 8 + 8 + 4 + 4 + 8 + chunk_.size());
  out.integer(chunk_start_time_);
  out.integer(chunk_end_time_);
  out.integer<std::uint64_t>(chunk_.size());
  out.integer(crc32(chunk_.bytes()));
  out.text("");  // not compressed
  out.integer<std::uint64_t>(chunk_.size());
  out.raw(chunk_.bytes().data(), chunk_.size());
  ChunkIndex index{chunk_start_time_, chunk_end_time_, position_, out.size(), chunk_.size(), {}, 0};
  for (const auto& [channel, times] : chunk_times_) {
    index.index_offsets[channel] = position_ + out.size();
    ByteWriter content;
    content.integer(channel);
    content.integer<std::uint32_t>(static_cast<std::uint32_t>(times.size() * 16));
    for (const auto& [time, offset] : times) {
      content.integer(time);
      content.integer(offset);
    }
    append_record(out, kMessageIndex, content);
  }
  index.index_length = out.size() - index.length;
  const bool first = chunks_.empty();
  start_time_ = first ? chunk_start_time_ : std::min(start_time_, chunk_start_time_);
  end_time_ = first ? chunk_end_time_ : std::max(end_time_, chunk_end_time_);
  chunk_.clear();
  chunk_times_.clear();
  put(out);
  chunks_.push_back(std::move(index));
}

ByteWriter McapWriter::summary() const {
  ByteWriter out;
  ByteWriter offsets;
  const auto group = [&](Opcode opcode, auto&& write_group) {
    const std::size_t begin = out.size();
    write_group();
    if (out.size() == begin) return;
    ByteWriter content;
    content.integer<std::uint8_t>(opcode);
    content.integer<std::uint64_t>(position_ + begin);
    content.integer<std::uint64_t>(out.size() - begin);
    append_record(offsets, kSummaryOffset, content);
  };
  group(kSchema, [&] {
    for (const ByteWriter& record : schemas_) out.raw(record.bytes().data(), record.size());
  });
  group(kChannel, [&] {
    for (const ByteWriter& record : channels_) out.raw(record.bytes().data(), record.size());
  });
  group(kStatistics, [&] {
    ByteWriter content;
    content.integer(
        std::accumulate(message_counts_.begin(), message_counts_.end(), std::uint64_t{0},
                        [](std::uint64_t sum, const auto& c) { return sum + c.second; }));
    content.integer(static_cast<std::uint16_t>(schemas_.size()));
    content.integer(static_cast<std::uint32_t>(channels_.size()));
    content.integer<std::uint32_t>(0);  // attachments
    content.integer(static_cast<std::uint32_t>(metadata_.size()));
    content.integer(static_cast<std::uint32_t>(chunks_.size()));
    content.integer(start_time_);
    content.integer(end_time_);
    put_counts(content, message_counts_);
    append_record(out, kStatistics, content);
  });
  group(kChunkIndex, [&] {
    for (const ChunkIndex& chunk : chunks_) {
      ByteWriter content;
      content.integer(chunk.start_time);
      content.integer(chunk.end_time);
      content.integer(chunk.offset);
      content.integer(chunk.length);
      put_counts(content, chunk.index_offsets);
      content.integer(chunk.index_length);
      content.text("");
      content.integer(chunk.size);
      content.integer(chunk.size);
      append_record(out, kChunkIndex, content);
    }
  });
  group(kMetadataIndex, [&] {
    for (const MetadataIndex& metadata : metadata_) {
      ByteWriter content;
      content.integer(metadata.offset);
      content.integer(metadata.length);
      content.text(metadata.name);
      append_record(out, kMetadataIndex, content);
    }
  });
  const std::uint64_t offsets_start = position_ + out.size();
  out.raw(offsets.bytes().data(), offsets.size());
  // The footer's checksum covers the summary and the footer up to itself.
  out.integer<std::uint8_t>(kFooter);
  out.integer<std::uint64_t>(8 + 8 + 4);
  out.integer(position_);
  out.integer(offsets_start);
  out.integer(crc32(out.bytes()));
  out.raw(kMagic.data(), kMagic.size());
  return out;
}

void McapWriter::close() {
  if (descriptor_ < 0) return;
  flush();
  ByteWriter end;
  ByteWriter content;
  content.integer<std::uint32_t>(0);  // no checksum of the whole: each chunk has its own
  append_record(end, kDataEnd, content);
  put(end);
  put(summary());
  const bool synchronised = fsync(descriptor_) == 0;
  const int error = errno;
  const bool closed = ::close(descriptor_) == 0;
  descriptor_ = -1;
  if (!synchronised || !closed) {
    throw Error("the recording " + file_.string() +
                " could not be completed: " + std::strerror(synchronised ? errno : error));
  }
}

}  // namespace serl_rt
