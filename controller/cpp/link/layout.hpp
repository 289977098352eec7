// How a transition lies in memory: packed rows and frames in the spool, columns on the wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "link/transition.hpp"
#include "link/value.hpp"

namespace serl_rt {

inline constexpr std::size_t kMaxColumns = 64;
// All columns of a message.
inline constexpr std::size_t kMaxBodyBytes = std::size_t{64} * 1024 * 1024;

// One named array of a `transitions` message; `shape` is that of one transition.
struct Column {
  std::string name;
  std::string dtype;  // numpy's: f4 f8 u1 u4 u8 i8
  std::vector<int> shape;

  bool operator==(const Column&) const = default;
};

// Bytes of one transition in a column. Throws WireError for an unknown dtype.
std::size_t item_bytes(const Column& column);

// Images under observation/ have rows only for the transitions that start anew: the others begin
// with the images that the transition before ended with.
bool is_sparse(const Column& column) noexcept;
inline constexpr std::string_view kStarts = "starts";  // the column that says which ones

// The images of one transition: those of all cameras, one after the other.
struct StepImages {
  BytesView observation;  // empty: those that the transition before ended with
  BytesView next;
};

// The columns of the transitions of one contract. A row holds one transition but for its images:
// its columns' values one after the other, little-endian, unpadded.
class TransitionLayout {
 public:
  struct Field {
    std::string name;
    std::vector<int> shape;
  };

  // `observation` and `images` (height, width, 3) in the contract's order. Throws Error when a
  // Transition or a message cannot hold it.
  TransitionLayout(const std::vector<Field>& observation, int action_size,
                   const std::vector<Field>& images = {});

  const std::vector<Column>& columns() const noexcept { return columns_; }
  std::size_t column_bytes(std::size_t column) const noexcept { return item_bytes_[column]; }
  std::size_t row_bytes() const noexcept { return row_bytes_; }
  std::size_t row_columns() const noexcept { return row_columns_; }  // the first ones are in rows
  std::size_t image_bytes() const noexcept { return image_bytes_; }  // of all cameras
  int observation_size() const noexcept { return observation_size_; }
  int action_size() const noexcept { return action_size_; }

  // `row` has row_bytes().
  void write_row(const Transition& transition, std::byte* row) const noexcept;
  Transition read_row(const std::byte* row) const noexcept;

 private:
  std::vector<Column> columns_;
  std::vector<std::size_t> item_bytes_;
  std::size_t row_bytes_ = 0;
  std::size_t row_columns_ = 0;
  std::size_t image_bytes_ = 0;
  int observation_size_ = 0;
  int action_size_ = 0;
};

// Rows turned into columns: the arrays of one `transitions` message in one reused buffer.
class PackedColumns {
 public:
  // Makes room for `count` transitions, `starts` of which bring the images of their observation.
  // They are then copied in with add().
  void start(const TransitionLayout& layout, std::size_t count, std::size_t starts = 0);
  void add(const TransitionLayout& layout, const std::byte* row,
           const StepImages& images = {}) noexcept;

  std::size_t count() const noexcept { return count_; }
  // One per column; valid until the next start().
  const std::vector<BytesView>& frames() const noexcept { return frames_; }

 private:
  void append(std::size_t column, const std::byte* data, std::size_t size) noexcept;

  Bytes body_;
  std::vector<BytesView> frames_;
  std::vector<std::byte*> ends_;  // of what is in each column so far
  std::size_t count_ = 0;
};

}  // namespace serl_rt
