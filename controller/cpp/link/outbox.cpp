#include "link/outbox.hpp"

#include <algorithm>

namespace serl_rt {
namespace {

// Each message behind a lost one makes the learner ask for the lost one: answer only the first.
constexpr std::chrono::milliseconds kRewindPause{100};

}  // namespace

Outbox::Outbox(const TransitionLayout& layout, const OutboxConfig& config)
    : config_(config),
      batch_(std::clamp(config.batch_bytes / (layout.row_bytes() + layout.image_bytes()),
                        std::size_t{1}, config.batch)),
      spool_(layout, config.spool_bytes),
      patience_(config.resend_after) {}

bool Outbox::push(const Transition& transition, Time now, const StepImages& images) {
  if (!spool_.push(transition, images)) return false;
  if (cursor_ + 1 == spool_.next_seq()) oldest_unsent_at_ = now;
  return true;
}

void Outbox::restart(std::uint64_t next_seq, Time now) {
  spool_.acknowledge(next_seq);
  cursor_ = whole_ = next_seq;
  ever_sent_ = std::max(ever_sent_, next_seq);
  progress_at_ = now;
  patience_ = config_.resend_after;
  rewound_to_.reset();
}

void Outbox::acknowledge(std::uint64_t next_seq, bool resend, Time now) {
  if (next_seq > ever_sent_) {
    throw WireError("acknowledged up to " + std::to_string(next_seq) + ", but only " +
                    std::to_string(ever_sent_) + " were sent");
  }
  if (next_seq < acknowledged()) return;  // an answer from before a restart of the connection
  if (next_seq > acknowledged()) {
    spool_.acknowledge(next_seq);
    cursor_ = std::max(cursor_, next_seq);
    progress_at_ = now;
    patience_ = config_.resend_after;
  }
  const bool answered = rewound_to_ == next_seq && now - rewound_at_ < kRewindPause;
  if (resend && cursor_ > next_seq && !answered) {
    cursor_ = next_seq;
    rewound_to_ = next_seq;
    rewound_at_ = now;
    progress_at_ = now;
  }
}

std::optional<Outbox::Batch> Outbox::next(bool flush, Time now) {
  rewind_when_overdue(now);
  const auto unsent = static_cast<std::size_t>(spool_.next_seq() - cursor_);
  const auto in_flight = static_cast<std::size_t>(cursor_ - acknowledged());
  if (unsent == 0 || in_flight >= config_.window * batch_) return std::nullopt;
  if (unsent < batch_ && !flush && now - oldest_unsent_at_ < config_.linger) return std::nullopt;
  return Batch{cursor_, std::min(unsent, batch_), cursor_ < ever_sent_};
}

void Outbox::sent(const Batch& batch, Time now) {
  if (cursor_ == acknowledged()) progress_at_ = now;
  cursor_ = batch.first_seq + batch.count;
  ever_sent_ = std::max(ever_sent_, cursor_);
}

void Outbox::pack(const Batch& batch, PackedColumns& columns) const {
  spool_.pack(batch.first_seq, batch.count, columns, batch.first_seq == whole_);
}

void Outbox::rewind_when_overdue(Time now) {
  if (cursor_ == acknowledged() || now - progress_at_ < patience_) return;
  cursor_ = acknowledged();
  progress_at_ = now;
  patience_ = std::min(patience_ * 2, config_.resend_at_most);
}

}  // namespace serl_rt
