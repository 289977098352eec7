#include "app/recording.hpp"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBatch = 1000;  // ticks copied while the collecting thread waits
constexpr std::size_t kStampLength = 19;

std::int64_t steady_epoch_ns() {
  const auto ns = [](auto time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  };
  return ns(std::chrono::system_clock::now()) - ns(std::chrono::steady_clock::now());
}

std::string time_stamp() {
  using namespace std::chrono;
  const auto now = system_clock::now();
  const std::time_t seconds = system_clock::to_time_t(now);
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[kStampLength + 1];
  const std::size_t length = std::strftime(text, sizeof(text), "%Y%m%d-%H%M%S", &local);
  const auto ms = duration_cast<milliseconds>(now.time_since_epoch()).count() % 1000;
  std::snprintf(text + length, sizeof(text) - length, ".%03d", static_cast<int>(ms));
  return text;
}

// Whether recording_path() made this name: nothing else is ever deleted.
bool is_recording(const fs::path& file) {
  const std::string name = file.filename().string();
  constexpr std::string_view kPattern = "dddddddd-dddddd.ddd-";
  if (file.extension() != ".mcap" || name.size() <= kPattern.size()) return false;
  return std::equal(kPattern.begin(), kPattern.end(), name.begin(), [](char p, char c) {
    return p == 'd' ? std::isdigit(static_cast<unsigned char>(c)) != 0 : p == c;
  });
}

std::string file_name_of(const std::string& cause) {
  std::string name;
  for (const char c : cause.substr(0, 60)) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name.empty() ? "unnamed" : name;
}

}  // namespace

fs::path recording_path(const fs::path& folder, const std::string& cause) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error("the folder of the recordings " + folder.string() +
                " could not be made: " + error.message());
  }
  return folder / (time_stamp() + "-" + file_name_of(cause) + ".mcap");
}

void make_room(const fs::path& folder, std::uint64_t more, std::uint64_t limit) {
  std::error_code error;
  std::vector<std::pair<fs::path, std::uint64_t>> files;
  std::uint64_t total = more;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code gone;
    const std::uint64_t size = entry.file_size(gone);
    if (gone || !is_recording(entry.path())) continue;
    files.emplace_back(entry.path(), size);
    total += size;
  }
  std::sort(files.begin(), files.end());
  for (const auto& [file, size] : files) {
    if (total <= limit) return;
    if (!fs::remove(file, error) && error) {
      throw Error("an old recording " + file.string() +
                  " could not be deleted: " + error.message());
    }
    total -= size;
  }
}

Recording::Recording(const fs::path& file, const std::map<std::string, std::string>& about,
                     const TickHistory& ticks, const EventHistory& events, std::uint64_t begin)
    : ticks_(ticks),
      events_(events),
      writer_(file, "serl-rt"),
      tick_channel_(writer_.add_channel(
          writer_.add_schema(kTickSchema, "ros2msg", tick_definition()), "/tick", "cdr")),
      fault_channel_(writer_.add_channel(
          writer_.add_schema(kFaultSchema, "ros2msg", fault_definition()), "/fault", "cdr")),
      epoch_ns_(steady_epoch_ns()),
      begin_(begin),
      next_tick_(begin) {
  writer_.add_metadata("recording", about);
  begin_ = next_tick_ = ticks_.copy(begin, 1, tick_batch_);
  next_event_ = events_.copy(0, 1, event_batch_);
}

void Recording::follow(std::uint64_t end) {
  // What is due before the ticks get older.
  while (next_tick_ < end) write_ticks(end);
  write_events(end);
  writer_.flush();
}

void Recording::write_ticks(std::uint64_t end) {
  const std::uint64_t wanted = std::min<std::uint64_t>(kBatch, end - next_tick_);
  const std::uint64_t first = ticks_.copy(next_tick_, wanted, tick_batch_);
  overwritten_ += first - next_tick_;
  next_tick_ = first + tick_batch_.size();
  for (const TickRecord& tick : tick_batch_) {
    encode_tick(tick, message_);
    writer_.write(tick_channel_, static_cast<std::uint64_t>(epoch_ns_ + tick.timing.monotonic_ns),
                  message_);
  }
}

void Recording::write_events(std::uint64_t end) {
  next_event_ = events_.copy(next_event_, kBatch, event_batch_);
  while (!event_batch_.empty()) {
    for (const RecordedEvent& event : event_batch_) {
      if (event.tick > end) return;
      ++next_event_;
      if (event.tick < begin_) continue;
      encode_fault(event, message_);
      writer_.write(fault_channel_, static_cast<std::uint64_t>(epoch_ns_ + event.monotonic_ns),
                    message_);
    }
    next_event_ = events_.copy(next_event_, kBatch, event_batch_);
  }
}

void Recording::note(const std::string& name, const std::map<std::string, std::string>& values) {
  writer_.add_metadata(name, values);
}

void Recording::finish() { writer_.close(); }

}  // namespace serl_rt
