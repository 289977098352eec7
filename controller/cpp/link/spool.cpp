#include "link/spool.hpp"

#include <algorithm>

namespace serl_rt {

Spool::Spool(const TransitionLayout& layout, std::size_t max_bytes)
    : layout_(layout), max_rows_(std::max(max_bytes / layout.row_bytes(), kChunkRows)) {}

bool Spool::push(const Transition& transition) {
  if (full()) return false;
  const std::size_t index = static_cast<std::size_t>(next_seq_ - chunks_seq_);
  if (index == chunks_.size() * kChunkRows) {
    spare_.resize(kChunkRows * layout_.row_bytes());
    chunks_.push_back(std::move(spare_));
    spare_ = {};
  }
  std::byte* row = chunks_.back().data() + (index % kChunkRows) * layout_.row_bytes();
  layout_.write_row(transition, row);
  ++next_seq_;
  return true;
}

void Spool::acknowledge(std::uint64_t next_seq) {
  if (next_seq < first_seq_ || next_seq > next_seq_) {
    throw WireError("acknowledged up to " + std::to_string(next_seq) + "; expected " +
                    std::to_string(first_seq_) + " to " + std::to_string(next_seq_));
  }
  first_seq_ = next_seq;
  while (!chunks_.empty() && first_seq_ - chunks_seq_ >= kChunkRows) {
    spare_ = std::move(chunks_.front());
    chunks_.pop_front();
    chunks_seq_ += kChunkRows;
  }
}

void Spool::pack(std::uint64_t first_seq, std::size_t count, PackedColumns& columns) const {
  columns.start(layout_, count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t index = static_cast<std::size_t>(first_seq - chunks_seq_) + i;
    const Bytes& chunk = chunks_[index / kChunkRows];
    columns.add(layout_, chunk.data() + (index % kChunkRows) * layout_.row_bytes());
  }
}

}  // namespace serl_rt
