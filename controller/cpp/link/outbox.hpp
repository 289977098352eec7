// Which transitions to send next: batches, a window of unacknowledged ones, resending.
// No sockets and no clock of its own. Belongs to the link's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "link/spool.hpp"

namespace serl_rt {

struct OutboxConfig {
  std::size_t spool_bytes = std::size_t{1024} * 1024 * 1024;
  std::size_t batch = 256;                                 // transitions of a message
  std::size_t batch_bytes = std::size_t{4} * 1024 * 1024;  // of a message, if that is fewer
  std::size_t window = 16;                                 // unacknowledged full batches
  std::chrono::milliseconds linger{2};                     // that a transition waits for company
  std::chrono::milliseconds resend_after{500};  // without progress; doubles up to resend_at_most
  std::chrono::milliseconds resend_at_most{4000};
};

class Outbox {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;

  struct Batch {
    std::uint64_t first_seq;
    std::size_t count;
    bool again;  // some of it was sent before
  };

  Outbox(const TransitionLayout& layout, const OutboxConfig& config);

  // False: the spool is full.
  bool push(const Transition& transition, Time now, const StepImages& images = {});

  // The learner (another one, or the same after an interruption) expects `next_seq`.
  // Throws WireError when that is not here.
  void restart(std::uint64_t next_seq, Time now);

  // Everything before `next_seq` is stored. `resend`: send what follows again, now.
  // Throws WireError for a number that was never sent.
  void acknowledge(std::uint64_t next_seq, bool resend, Time now);

  // What to send now, if anything; call sent() when that is done. `flush`: do not linger.
  std::optional<Batch> next(bool flush, Time now);
  void sent(const Batch& batch, Time now);
  void pack(const Batch& batch, PackedColumns& columns) const;

  const Spool& spool() const noexcept { return spool_; }
  std::uint64_t acknowledged() const noexcept { return spool_.first_seq(); }

 private:
  void rewind_when_overdue(Time now);

  OutboxConfig config_;
  std::size_t batch_;  // transitions of a full message
  Spool spool_;
  std::uint64_t cursor_ = 0;  // next to send
  std::uint64_t ever_sent_ = 0;
  std::uint64_t whole_ = 0;  // the learner may not have what came before this one
  Time progress_at_{};       // last acknowledgement, or first send after all were acknowledged
  Time oldest_unsent_at_{};  // when the transition at cursor_ arrived
  Time rewound_at_{};
  std::optional<std::uint64_t> rewound_to_;
  std::chrono::milliseconds patience_;
};

}  // namespace serl_rt
