// Transitions on their way from the policy thread to the link's: a ring, and a pool that holds
// their images.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "core/ring.hpp"
#include "link/image_pool.hpp"
#include "link/layout.hpp"
#include "link/transition.hpp"

namespace serl_rt {

class TransitionQueue {
 public:
  static constexpr std::size_t kSize = 1024;

  explicit TransitionQueue(const TransitionLayout& layout);

  // Policy thread; see Link::push(). Wait-free.
  bool push(const Transition& transition, const StepImages& images) noexcept;

  // Policy thread: whether the next push() is taken.
  bool has_room() const noexcept;

  // The link's thread: gives the oldest transition with its images to `take`. False: there is none.
  template <class Take>
  bool pop(const Take& take) {
    if (!ring_.try_pop(popped_)) return false;
    const auto view = [this](const auto& index) {
      return index ? BytesView(pool_[*index]) : BytesView();
    };
    take(popped_.transition, StepImages{view(popped_.observation), view(popped_.next)});
    if (popped_.observation) pool_.give_back(*popped_.observation);
    if (popped_.next) pool_.give_back(*popped_.next);
    popped_count_.fetch_add(1);
    return true;
  }

  // Any thread.
  std::uint64_t pushed() const noexcept { return pushed_count_.load(); }
  std::uint64_t refused() const noexcept { return refused_count_.load(); }  // push() was false

 private:
  struct Entry {
    Transition transition;
    std::optional<ImagePool::Index> observation;  // none: what the one before ended with
    std::optional<ImagePool::Index> next;
  };

  struct Place {
    std::uint32_t episode;
    std::uint32_t step;
  };

  bool try_push(const Transition& transition, const StepImages& images) noexcept;
  std::optional<ImagePool::Index> put(BytesView image) noexcept;
  bool ring_has_room() const noexcept {
    return pushed_count_.load() - popped_count_.load() < kSize;
  }

  const std::size_t image_bytes_;  // of all cameras; 0: none
  Ring<Entry, kSize> ring_;
  ImagePool pool_;
  std::atomic<std::uint64_t> pushed_count_ = 0;
  std::atomic<std::uint64_t> refused_count_ = 0;
  std::atomic<std::uint64_t> popped_count_ = 0;

  // the policy thread
  Entry entry_;
  std::optional<Place> last_;  // of the transition that was taken last; none: it was refused

  // the link's thread
  Entry popped_;
};

}  // namespace serl_rt
