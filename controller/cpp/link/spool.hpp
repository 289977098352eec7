// Transitions that the learner has not acknowledged, in memory, numbered from 0.
// Belongs to the link's thread.
#pragma once

#include <cstdint>
#include <deque>

#include "link/layout.hpp"

namespace serl_rt {

class Spool {
 public:
  // Holds at most `max_bytes` of rows and images, but at least one chunk of rows and the images of
  // one transition. `layout` must outlive this.
  Spool(const TransitionLayout& layout, std::size_t max_bytes);

  // False: full. Nothing that was taken is ever dropped. `images` is copied; its observation may be
  // empty when the transition begins where the one pushed before ended.
  bool push(const Transition& transition, const StepImages& images = {});

  // Forgets everything before `next_seq`. Throws WireError outside first_seq()..next_seq().
  void acknowledge(std::uint64_t next_seq);

  // Copies `count` transitions from `first_seq` on into columns. All of them must be here.
  // `whole`: the first one brings the images of its observation in any case, for somebody who does
  // not have the transition before.
  void pack(std::uint64_t first_seq, std::size_t count, PackedColumns& columns,
            bool whole = false) const;

  std::uint64_t first_seq() const noexcept { return first_seq_; }  // oldest one that is kept
  std::uint64_t next_seq() const noexcept { return next_seq_; }    // number of the next push
  std::size_t size() const noexcept { return static_cast<std::size_t>(next_seq_ - first_seq_); }
  bool full() const noexcept;

 private:
  static constexpr std::size_t kChunkRows = 256;

  struct Images {
    Bytes observation;  // empty: those that the one before ended with
    Bytes next;
  };

  Bytes copy(BytesView image);
  void recycle(Bytes image);
  StepImages images_of(std::size_t index, bool whole) const noexcept;

  const TransitionLayout& layout_;
  std::size_t max_bytes_;
  std::size_t image_bytes_ = 0;  // of all images here
  std::deque<Images> images_;    // of the transitions here, when the contract has images
  Bytes before_;                 // what the last acknowledged transition ended with
  std::vector<Bytes> spare_images_;
  std::deque<Bytes> chunks_;      // of kChunkRows rows each
  Bytes spare_;                   // the last emptied chunk, for reuse
  std::uint64_t chunks_seq_ = 0;  // number of the first row in chunks_
  std::uint64_t first_seq_ = 0;
  std::uint64_t next_seq_ = 0;
};

}  // namespace serl_rt
