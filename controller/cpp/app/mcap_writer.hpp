// Writes an MCAP file (https://mcap.dev/spec): what Foxglove, PlotJuggler and the mcap tools read.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace serl_rt {

// Little-endian bytes of MCAP records.
class ByteWriter {
 public:
  template <std::integral T>
  void integer(T value) {
    static_assert(std::endian::native == std::endian::little);
    raw(&value, sizeof(value));
  }
  void raw(const void* data, std::size_t size);
  void text(std::string_view text);  // with its length before it
  void texts(const std::map<std::string, std::string>& texts);
  void clear() noexcept { bytes_.clear(); }

  const std::vector<std::uint8_t>& bytes() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return bytes_.size(); }

 private:
  std::vector<std::uint8_t> bytes_;
};

// Uncompressed chunks, each handed to the operating system when it is full, so that a program that
// dies leaves a file which is readable up to its last whole chunk. One thread at a time. Every call
// but close() by the destructor throws Error (disk full, no permission) that names the file; the
// file is then of no more use.
class McapWriter {
 public:
  static constexpr std::size_t kChunkBytes = 1 << 20;  // a chunk is written when it has this size

  // Creates the file, which must not exist.
  McapWriter(const std::filesystem::path& file, const std::string& library);
  ~McapWriter();  // closes; what cannot be written is lost
  McapWriter(const McapWriter&) = delete;
  McapWriter& operator=(const McapWriter&) = delete;

  // Both return the id that messages and channels refer to. Before the first message.
  std::uint16_t add_schema(const std::string& name, const std::string& encoding,
                           const std::string& text);
  std::uint16_t add_channel(std::uint16_t schema, const std::string& topic,
                            const std::string& message_encoding);
  void add_metadata(const std::string& name, const std::map<std::string, std::string>& values);

  // `log_time_ns`: since 1970.
  void write(std::uint16_t channel, std::uint64_t log_time_ns,
             const std::vector<std::uint8_t>& message);

  // Writes the chunk that is being filled.
  void flush();

  // Ends the file with the index that lets readers jump. Nothing may follow.
  void close();

  const std::filesystem::path& file() const noexcept { return file_; }
  std::uint64_t bytes() const noexcept { return position_ + chunk_.size(); }

 private:
  struct ChunkIndex {
    std::uint64_t start_time, end_time, offset, length, size;
    std::map<std::uint16_t, std::uint64_t> index_offsets;
    std::uint64_t index_length;
  };
  struct MetadataIndex {
    std::uint64_t offset, length;
    std::string name;
  };
  using MessageTimes = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // time, offset

  void put(const ByteWriter& bytes);
  ByteWriter summary() const;

  std::filesystem::path file_;
  int descriptor_ = -1;
  bool failed_ = false;         // a write was cut short: nothing may follow it
  std::uint64_t position_ = 0;  // in the file

  std::vector<ByteWriter> schemas_;   // records, repeated in the summary
  std::vector<ByteWriter> channels_;  // the same
  std::vector<ChunkIndex> chunks_;
  std::vector<MetadataIndex> metadata_;

  ByteWriter chunk_;  // being filled
  std::uint64_t chunk_start_time_ = 0;
  std::uint64_t chunk_end_time_ = 0;
  std::map<std::uint16_t, MessageTimes> chunk_times_;

  std::map<std::uint16_t, std::uint64_t> message_counts_;
  std::uint64_t start_time_ = 0;
  std::uint64_t end_time_ = 0;
};

}  // namespace serl_rt
