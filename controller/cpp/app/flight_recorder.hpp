// The flight recorder: the last minutes of ticks in memory, written to a file when something
// happens, when somebody asks, or all the time. It never holds the control thread back: when it
// cannot keep up, ticks are missing from the recording, which is counted; when the disk is full,
// that is reported, and the arm goes on.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "app/recording.hpp"
#include "core/controller.hpp"

namespace serl_rt {

// What starts a recording unless the command line says otherwise: what must not happen, and what
// stops the arm without anybody having asked for it. Targets that were refused or ran out and
// torques that were limited are ordinary; the recording shows them.
inline constexpr std::array kDefaultTriggers{Fault::kJointPositionLimit, Fault::kJointVelocityLimit,
                                             Fault::kStateNonFinite,     Fault::kTorqueNonFinite,
                                             Fault::kPolicyNonFinite,    Fault::kDriverLost};

// Throws Error that lists the names of the faults. "none": no trigger.
FaultSet parse_triggers(const std::vector<std::string>& names);

struct RecorderConfig {
  std::filesystem::path folder;
  double before_s = 120.0;  // kept in memory, and written of the time before a cause
  double after_s = 5.0;     // written of the time after the last cause
  bool continuous = false;  // also write everything, a file for every `before_s`
  FaultSet triggers;        // driver_lost: only driver_lost() knows why
  std::uint64_t max_bytes = 2'000'000'000;   // of all recordings in the folder; the oldest go first
  std::map<std::string, std::string> about;  // goes into every file
};

struct RecorderStatus {
  std::uint64_t files = 0;       // begun
  std::string last_file;         // the newest one that was completed after a cause
  std::string last_cause;        // of it; with those that prolonged it, joined by ", "
  bool recording = false;        // such a file is being written
  std::uint64_t ticks_lost = 0;  // neither in memory nor in the file that should have had them
  std::string failure;           // why the last attempt failed; empty: it did not
};

class FlightRecorder {
 public:
  // Before the control thread starts; the controller must outlive the recorder. Throws Error when
  // `max_bytes` has no room for a few files.
  FlightRecorder(const RecorderConfig& config, Controller& controller);
  ~FlightRecorder();  // as finish()
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  // Records because of `cause`. The file is complete `after_s` later; a cause that comes while one
  // is written prolongs it and is noted in it. `what`: a sentence for people. Never in the tick.
  void trigger(const std::string& cause, const std::string& what = "");

  // The same, if the fault driver_lost is a trigger.
  void driver_lost(const std::string& cause, const std::string& what);

  // The same; waits for the name of the file. Throws Error when it could not be created.
  std::filesystem::path record(const std::string& cause);

  // After the control thread has ended: writes what is left, completes the files, records no more.
  void finish();

  RecorderStatus status() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Request {
    std::string cause;
    std::string what;
    std::uint64_t tick = 0;
    std::promise<std::filesystem::path> file;
  };
  // A file that was begun by a cause.
  struct Triggered {
    std::unique_ptr<Recording> recording;
    std::vector<std::string> causes;  // each once, in their order
    std::uint64_t end = 0;            // tick number
    Clock::time_point latest;         // by then it ends, even if no ticks come
  };

  void collect();
  void collect_once();
  void watch_faults();
  std::future<std::filesystem::path> request(const std::string& cause, const std::string& what);

  void write();
  void answer(Request& request);
  void begin_or_note(const Request& request);
  void follow_triggered(bool stopping);
  void follow_continuous();
  std::unique_ptr<Recording> begin(const std::string& cause, const std::string& what,
                                   std::uint64_t tick);
  void fail(const std::string& reason);

  const RecorderConfig config_;
  Controller& controller_;
  std::unique_ptr<RecordRing> ring_;
  TickHistory ticks_;
  EventHistory events_;
  FaultSnapshot counted_{};  // collecting thread

  // Writing thread.
  std::optional<Triggered> triggered_;
  std::unique_ptr<Recording> continuous_;
  std::uint64_t recorded_until_ = 0;  // by the last file that a cause began
  Clock::time_point retry_continuous_;

  mutable std::mutex mutex_;  // the three below
  bool finished_ = false;
  std::vector<Request> requests_;
  RecorderStatus status_;
  std::condition_variable wake_;
  std::atomic<bool> stop_collecting_ = false;
  std::atomic<bool> stop_writing_ = false;
  std::thread collector_;
  std::thread writer_;
};

}  // namespace serl_rt
