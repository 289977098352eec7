#include "link/spool.hpp"

#include <algorithm>
#include <utility>

namespace serl_rt {
namespace {

constexpr std::size_t kSpareImages = 64;  // kept for reuse

}  // namespace

Spool::Spool(const TransitionLayout& layout, std::size_t max_bytes)
    : layout_(layout),
      max_bytes_(std::max(max_bytes, kChunkRows * layout.row_bytes() + 2 * layout.image_bytes())) {}

bool Spool::full() const noexcept {
  const std::size_t another = layout_.row_bytes() + 2 * layout_.image_bytes();
  return size() * layout_.row_bytes() + image_bytes_ + another > max_bytes_;
}

bool Spool::push(const Transition& transition, const StepImages& images) {
  if (full()) return false;
  const std::size_t index = static_cast<std::size_t>(next_seq_ - chunks_seq_);
  if (index == chunks_.size() * kChunkRows) {
    spare_.resize(kChunkRows * layout_.row_bytes());
    chunks_.push_back(std::move(spare_));
    spare_ = {};
  }
  std::byte* row = chunks_.back().data() + (index % kChunkRows) * layout_.row_bytes();
  layout_.write_row(transition, row);
  if (layout_.image_bytes() > 0) {
    images_.push_back({copy(images.observation), copy(images.next)});
    image_bytes_ += images.observation.size() + images.next.size();
  }
  ++next_seq_;
  return true;
}

void Spool::acknowledge(std::uint64_t next_seq) {
  if (next_seq < first_seq_ || next_seq > next_seq_) {
    throw WireError("acknowledged up to " + std::to_string(next_seq) + "; expected " +
                    std::to_string(first_seq_) + " to " + std::to_string(next_seq_));
  }
  for (; first_seq_ < next_seq; ++first_seq_) {
    if (images_.empty()) continue;
    Images& images = images_.front();
    image_bytes_ -= images.observation.size() + images.next.size();
    recycle(std::move(images.observation));
    recycle(std::exchange(before_, std::move(images.next)));
    images_.pop_front();
  }
  while (!chunks_.empty() && first_seq_ - chunks_seq_ >= kChunkRows) {
    spare_ = std::move(chunks_.front());
    chunks_.pop_front();
    chunks_seq_ += kChunkRows;
  }
}

void Spool::pack(std::uint64_t first_seq, std::size_t count, PackedColumns& columns,
                 bool whole) const {
  const auto begin = static_cast<std::size_t>(first_seq - first_seq_);  // in images_
  std::size_t starts = 0;
  for (std::size_t i = 0; i < count; ++i) {
    starts += images_of(begin + i, whole && i == 0).observation.empty() ? 0 : 1;
  }
  columns.start(layout_, count, starts);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t index = static_cast<std::size_t>(first_seq - chunks_seq_) + i;
    const Bytes& chunk = chunks_[index / kChunkRows];
    columns.add(layout_, chunk.data() + (index % kChunkRows) * layout_.row_bytes(),
                images_of(begin + i, whole && i == 0));
  }
}

StepImages Spool::images_of(std::size_t index, bool whole) const noexcept {
  if (images_.empty()) return {};
  StepImages images{images_[index].observation, images_[index].next};
  if (whole && images.observation.empty()) {
    images.observation = index == 0 ? before_ : images_[index - 1].next;
  }
  return images;
}

Bytes Spool::copy(BytesView image) {
  if (image.empty()) return {};
  Bytes buffer;
  if (!spare_images_.empty()) {
    buffer = std::move(spare_images_.back());
    spare_images_.pop_back();
  }
  buffer.assign(image.begin(), image.end());
  return buffer;
}

void Spool::recycle(Bytes image) {
  if (!image.empty() && spare_images_.size() < kSpareImages) {
    spare_images_.push_back(std::move(image));
  }
}

}  // namespace serl_rt
