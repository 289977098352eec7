#include "app/flight_recorder.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

using namespace std::chrono_literals;

constexpr auto kCollectInterval = 20ms;  // the ring holds a second
constexpr auto kWriteInterval = 100ms;
constexpr double kFlushInterval_s = 1.0;  // of a continuous recording: what a killed program loses
constexpr auto kRetryInterval = 10s;
constexpr auto kPatience = 1s;       // for ticks that do not come
constexpr double kOverlap_s = 10.0;  // of a recording with the one before
constexpr double kMargin_s = 10.0;   // of memory, while the oldest ticks are written
constexpr std::size_t kEvents = 1 << 15;
constexpr std::uint64_t kFewFiles = 3;  // that the folder must have room for

std::int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::uint64_t tick_count(double seconds) {
  return static_cast<std::uint64_t>(std::lround(seconds / kTickSeconds));
}

std::string joined(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ", ") + text;
  return list;
}

std::uint64_t file_bytes(const RecorderConfig& config) {
  return kTickBytes * tick_count(config.before_s + config.after_s);
}

}  // namespace

FaultSet parse_triggers(const std::vector<std::string>& names) {
  FaultSet faults;
  if (names.size() == 1 && names[0] == "none") return faults;
  std::map<std::string, Fault> known;
  std::string list;
  for (std::size_t i = 0; i < kFaults; ++i) {
    const auto fault = static_cast<Fault>(i);
    known.emplace(to_string(fault), fault);
    list += ", " + std::string(to_string(fault));
  }
  for (const std::string& name : names) {
    const auto found = known.find(name);
    if (found == known.end()) throw Error("unknown fault '" + name + "': choose from none" + list);
    faults.add(found->second);
  }
  return faults;
}

FlightRecorder::FlightRecorder(const RecorderConfig& config, Controller& controller)
    : config_(config),
      controller_(controller),
      ring_(std::make_unique<RecordRing>()),
      ticks_(tick_count(config.before_s + kMargin_s)),
      events_(kEvents) {
  const std::uint64_t least = kFewFiles * file_bytes(config);
  if (config.max_bytes < least) {
    throw Error("recordings may take " + std::to_string(config.max_bytes / 1'000'000) +
                " MB, which has no room for a few of " + std::to_string(config.before_s) +
                " s: allow at least " + std::to_string(least / 1'000'000 + 1) +
                " MB, or keep fewer seconds");
  }
  controller_.set_record_ring(ring_.get());
  collector_ = std::thread([this] { collect(); });
  writer_ = std::thread([this] { write(); });
}

FlightRecorder::~FlightRecorder() { finish(); }

void FlightRecorder::finish() {
  if (!writer_.joinable()) return;
  stop_collecting_ = true;
  collector_.join();
  {
    const std::scoped_lock lock(mutex_);
    finished_ = true;  // those who asked before still get their answer
    stop_writing_ = true;
  }
  wake_.notify_all();
  writer_.join();
  controller_.set_record_ring(nullptr);
}

void FlightRecorder::collect() {
  while (!stop_collecting_) {
    collect_once();
    std::this_thread::sleep_for(kCollectInterval);
  }
  collect_once();
}

// Empties the ring into the history.
void FlightRecorder::collect_once() {
  TickRecord record;
  // Bounded, should the ticks come faster than they are copied.
  for (std::size_t i = 0; i < RecordRing::capacity() && ring_->try_pop(record); ++i) {
    ticks_.push(record);
  }
  watch_faults();
}

void FlightRecorder::watch_faults() {
  const FaultSnapshot snapshot = controller_.faults().snapshot();
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (snapshot[i].count == counted_[i].count) continue;
    const auto fault = static_cast<Fault>(i);
    events_.push({ticks_.end(), steady_ns(), fault, snapshot[i]});
    if (fault == Fault::kDriverLost) continue;  // driver_lost() comes with the reason
    if (config_.triggers.has(fault)) request(std::string(to_string(fault)), "");
  }
  counted_ = snapshot;
}

void FlightRecorder::trigger(const std::string& cause, const std::string& what) {
  try {
    request(cause, what);
  } catch (const Error&) {  // the controller is stopping
  }
}

void FlightRecorder::driver_lost(const std::string& cause, const std::string& what) {
  if (config_.triggers.has(Fault::kDriverLost)) trigger(cause, what);
}

std::filesystem::path FlightRecorder::record(const std::string& cause) {
  return request(cause, "").get();
}

std::future<std::filesystem::path> FlightRecorder::request(const std::string& cause,
                                                           const std::string& what) {
  Request request{cause, what, ticks_.end(), {}};
  auto file = request.file.get_future();
  {
    const std::scoped_lock lock(mutex_);
    if (finished_) throw Error("nothing is recorded: the controller is stopping");
    requests_.push_back(std::move(request));
  }
  wake_.notify_all();
  return file;
}

void FlightRecorder::write() {
  bool stopping = false;
  while (!stopping) {
    std::vector<Request> requests;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, kWriteInterval, [&] { return stop_writing_ || !requests_.empty(); });
      requests.swap(requests_);
      stopping = stop_writing_ && requests.empty();
    }
    for (Request& request : requests) answer(request);
    follow_triggered(stopping);
    if (config_.continuous) follow_continuous();
  }
  try {
    if (continuous_) continuous_->finish();
  } catch (const Error& error) {
    fail(error.what());
  }
}

void FlightRecorder::answer(Request& request) {
  const auto after = std::chrono::duration<double>(config_.after_s);
  try {
    begin_or_note(request);
    // However often a fault comes, a file ends: with twice the time before its cause.
    triggered_->end = std::min(request.tick + tick_count(config_.after_s),
                               triggered_->recording->begin() + tick_count(2.0 * config_.before_s) +
                                   tick_count(config_.after_s));
    triggered_->latest =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(after) + kPatience;
    request.file.set_value(triggered_->recording->file());
  } catch (const Error& error) {
    fail(error.what());
    request.file.set_exception(std::current_exception());
  }
}

// Begins a file, or notes in the one that is being written that there is another cause.
void FlightRecorder::begin_or_note(const Request& request) {
  if (!triggered_) {
    const std::uint64_t before = std::min(request.tick, tick_count(config_.before_s));
    const std::uint64_t overlap = std::min(recorded_until_, tick_count(kOverlap_s));
    const std::uint64_t first = std::max(request.tick - before, recorded_until_ - overlap);
    triggered_.emplace(
        Triggered{begin(request.cause, request.what, first), {request.cause}, 0, {}});
    return;
  }
  std::vector<std::string>& causes = triggered_->causes;
  if (std::find(causes.begin(), causes.end(), request.cause) != causes.end()) return;
  causes.push_back(request.cause);
  std::map<std::string, std::string> values{{"causes", joined(causes)}};
  if (!request.what.empty()) values["what"] = request.what;
  triggered_->recording->note("recording", values);
}

void FlightRecorder::follow_triggered(bool stopping) {
  if (!triggered_) return;
  Recording& recording = *triggered_->recording;
  try {
    const std::uint64_t newest = ticks_.end();
    const bool complete =
        stopping || newest >= triggered_->end || Clock::now() > triggered_->latest;
    recording.follow(std::min(newest, triggered_->end));
    if (!complete) return;
    recording.finish();
    const std::scoped_lock lock(mutex_);
    status_.last_file = recording.file().string();
    status_.last_cause = joined(triggered_->causes);
    status_.recording = false;
    status_.ticks_lost += recording.overwritten();
  } catch (const Error& error) {
    fail(error.what());
  }
  recorded_until_ = recording.next();
  triggered_.reset();
}

void FlightRecorder::follow_continuous() {
  const std::uint64_t newest = ticks_.end();
  try {
    if (!continuous_) {
      if (Clock::now() < retry_continuous_) return;
      continuous_ = begin("continuous", "", newest);
    }
    if (newest - continuous_->next() < tick_count(kFlushInterval_s) && !stop_writing_) return;
    continuous_->follow(newest);
    if (newest - continuous_->begin() < tick_count(config_.before_s)) return;
    continuous_->finish();
    continuous_ = begin("continuous", "", continuous_->next());
  } catch (const Error& error) {
    fail(error.what());
    continuous_.reset();
    retry_continuous_ = Clock::now() + kRetryInterval;
  }
}

std::unique_ptr<Recording> FlightRecorder::begin(const std::string& cause, const std::string& what,
                                                 std::uint64_t tick) {
  const std::filesystem::path file = recording_path(config_.folder, cause);
  make_room(config_.folder, file_bytes(config_), config_.max_bytes);
  auto about = config_.about;
  about["cause"] = cause;
  if (!what.empty()) about["what"] = what;
  about["before_s"] = std::to_string(config_.before_s);
  about["after_s"] = std::to_string(config_.after_s);
  auto recording = std::make_unique<Recording>(file, about, ticks_, events_, tick);
  const std::scoped_lock lock(mutex_);
  ++status_.files;
  status_.recording = status_.recording || cause != "continuous";
  status_.failure.clear();
  return recording;
}

void FlightRecorder::fail(const std::string& reason) {
  const std::scoped_lock lock(mutex_);
  status_.failure = reason;
  status_.recording = false;
}

RecorderStatus FlightRecorder::status() const {
  const std::uint64_t dropped = controller_.status().records_dropped;
  const std::scoped_lock lock(mutex_);
  RecorderStatus status = status_;
  status.ticks_lost += dropped;
  return status;
}

}  // namespace serl_rt
