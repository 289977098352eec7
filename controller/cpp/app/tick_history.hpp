// The last minutes of ticks and faults, in memory that is allocated beforehand.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <vector>

#include "app/tick_message.hpp"

namespace serl_rt {

// Any thread but the control thread. Everything that was put in has a number, counted from 0.
template <class T>
class History {
 public:
  explicit History(std::size_t capacity) : values_(capacity) {}

  void push(const T& value) {
    const std::scoped_lock lock(mutex_);
    values_[end_ % values_.size()] = value;
    ++end_;
  }

  std::uint64_t end() const {
    const std::scoped_lock lock(mutex_);
    return end_;
  }

  // Replaces `out` by at most `count` values from number `begin` on, or from the oldest that is
  // still there. Returns the number of the first.
  std::uint64_t copy(std::uint64_t begin, std::size_t count, std::vector<T>& out) const {
    const std::scoped_lock lock(mutex_);
    const std::uint64_t oldest = end_ - std::min<std::uint64_t>(end_, values_.size());
    begin = std::clamp(begin, oldest, end_);
    const std::uint64_t stop = std::min<std::uint64_t>(end_, begin + count);
    out.clear();
    for (std::uint64_t i = begin; i < stop; ++i) out.push_back(values_[i % values_.size()]);
    return begin;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<T> values_;
  std::uint64_t end_ = 0;
};

}  // namespace serl_rt
