// One file of the flight recorder, and the folder that it lies in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "app/mcap_writer.hpp"
#include "app/tick_history.hpp"

namespace serl_rt {

using TickHistory = History<TickRecord>;
using EventHistory = History<RecordedEvent>;

inline constexpr std::size_t kTickBytes = 660;  // in a file, with what MCAP adds

// A name that sorts by time and says why, in a folder that is made when it is missing:
// FOLDER/20260131-154501.123-joint_velocity_limit.mcap. Throws Error.
std::filesystem::path recording_path(const std::filesystem::path& folder, const std::string& cause);

// Deletes the oldest recordings until those that are left and `more` bytes fit into `limit`. Other
// files are left alone. Throws Error.
void make_room(const std::filesystem::path& folder, std::uint64_t more, std::uint64_t limit);

// Follows the history into a file. One thread. Throws Error as McapWriter does.
class Recording {
 public:
  // From tick number `begin` on. `about`: what a reader should know, e.g. the cause.
  Recording(const std::filesystem::path& file, const std::map<std::string, std::string>& about,
            const TickHistory& ticks, const EventHistory& events, std::uint64_t begin);

  // Writes what has come, up to the tick number `end`, and hands it to the operating system.
  void follow(std::uint64_t end);

  // Adds what a reader should know that was not known at the beginning.
  void note(const std::string& name, const std::map<std::string, std::string>& values);

  // Completes the file.
  void finish();

  std::uint64_t next() const noexcept { return next_tick_; }           // first tick not yet written
  std::uint64_t begin() const noexcept { return begin_; }              // first tick of the file
  std::uint64_t overwritten() const noexcept { return overwritten_; }  // ticks that were too old
  const std::filesystem::path& file() const noexcept { return writer_.file(); }

 private:
  void write_ticks(std::uint64_t end);
  void write_events(std::uint64_t end);

  const TickHistory& ticks_;
  const EventHistory& events_;
  McapWriter writer_;
  std::uint16_t tick_channel_;
  std::uint16_t fault_channel_;
  std::int64_t epoch_ns_;  // since 1970, when the steady clock was zero
  std::uint64_t begin_;
  std::uint64_t next_tick_;
  std::uint64_t next_event_ = 0;
  std::uint64_t overwritten_ = 0;
  std::vector<TickRecord> tick_batch_;
  std::vector<RecordedEvent> event_batch_;
  std::vector<std::uint8_t> message_;
};

}  // namespace serl_rt
