// Transitions that the learner has not acknowledged, in memory, numbered from 0.
// Belongs to the link's thread.
#pragma once

#include <cstdint>
#include <deque>

#include "link/layout.hpp"

namespace serl_rt {

class Spool {
 public:
  // Holds at most `max_bytes` of rows, but at least one chunk. `layout` must outlive this.
  Spool(const TransitionLayout& layout, std::size_t max_bytes);

  // False: full. Nothing that was taken is ever dropped.
  bool push(const Transition& transition);

  // Forgets everything before `next_seq`. Throws WireError outside first_seq()..next_seq().
  void acknowledge(std::uint64_t next_seq);

  // Copies `count` rows from `first_seq` on into columns. All of them must be here.
  void pack(std::uint64_t first_seq, std::size_t count, PackedColumns& columns) const;

  std::uint64_t first_seq() const noexcept { return first_seq_; }  // oldest one that is kept
  std::uint64_t next_seq() const noexcept { return next_seq_; }    // number of the next push
  std::size_t size() const noexcept { return static_cast<std::size_t>(next_seq_ - first_seq_); }
  bool full() const noexcept { return size() >= max_rows_; }

 private:
  static constexpr std::size_t kChunkRows = 256;

  const TransitionLayout& layout_;
  std::size_t max_rows_;
  std::deque<Bytes> chunks_;      // of kChunkRows rows each
  Bytes spare_;                   // the last emptied chunk, for reuse
  std::uint64_t chunks_seq_ = 0;  // number of the first row in chunks_
  std::uint64_t first_seq_ = 0;
  std::uint64_t next_seq_ = 0;
};

}  // namespace serl_rt
