#include "link/transition_queue.hpp"

#include <algorithm>

namespace serl_rt {

TransitionQueue::TransitionQueue(const TransitionLayout& layout)
    : image_bytes_(layout.image_bytes()), pool_(image_bytes_) {}

bool TransitionQueue::push(const Transition& transition, const StepImages& images) noexcept {
  if (!try_push(transition, images)) {
    last_.reset();
    refused_count_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  last_ = {transition.episode, transition.step};
  pushed_count_.fetch_add(1, std::memory_order_release);
  return true;
}

bool TransitionQueue::has_room() const noexcept {
  return ring_has_room() && (image_bytes_ == 0 || pool_.has(2));
}

bool TransitionQueue::try_push(const Transition& transition, const StepImages& images) noexcept {
  entry_.transition = transition;
  if (image_bytes_ > 0) {
    const bool continues =
        last_ && last_->episode == transition.episode && last_->step + 1 == transition.step;
    if (!ring_has_room() || !pool_.has(continues ? 1 : 2) || images.next.size() != image_bytes_ ||
        images.observation.size() != image_bytes_) {
      return false;
    }
    entry_.observation = continues ? std::nullopt : put(images.observation);
    entry_.next = put(images.next);
  }
  return ring_.try_push(entry_);
}

std::optional<ImagePool::Index> TransitionQueue::put(BytesView image) noexcept {
  const auto index = pool_.take();
  if (index) std::copy(image.begin(), image.end(), pool_[*index].begin());
  return index;
}

}  // namespace serl_rt
