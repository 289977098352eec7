#include "app/flight_recorder.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "arm_model.hpp"
#include "core/control_loop.hpp"
#include "core/error.hpp"

using namespace serl_rt;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

// A folder of its own that goes away with the test.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / "serl_rt_recorder_XXXXXX") {
    std::string name = path_.string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

  std::vector<fs::path> files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(path_)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

 private:
  fs::path path_;
};

RecorderConfig config_in(const fs::path& folder) {
  RecorderConfig config;
  config.folder = folder;
  config.before_s = 1.0;
  config.after_s = 0.0;
  config.triggers.add(Fault::kJointVelocityLimit);
  return config;
}

struct Setup {
  test::Arm arm;
  Controller controller{ControllerConfig{}};
  ControlLoop loop{arm, controller};

  void run(int ticks) {
    for (int i = 0; i < ticks; ++i) {
      REQUIRE(loop.step());
      if (i % 20 == 19) std::this_thread::sleep_for(2ms);  // slower than the recorder collects
    }
  }
};

void write_bytes(const fs::path& file, std::size_t size) {
  std::ofstream(file, std::ios::binary) << std::string(size, 'x');
}

}  // namespace

TEST_CASE("a fault begins one file, which names it; faults that follow go into the same") {
  const Folder folder;
  Setup setup;
  RecorderConfig config = config_in(folder.path());
  config.after_s = 10.0;
  FlightRecorder recorder(config, setup.controller);
  setup.run(300);
  setup.arm.set_velocity(Vec7::Constant(5.0));
  setup.run(5);
  setup.arm.set_velocity(Vec7::Constant(5.0));
  setup.run(300);
  recorder.finish();
  REQUIRE(folder.files().size() == 1);
  const RecorderStatus status = recorder.status();
  CHECK(status.last_cause == "joint_velocity_limit");
  CHECK(status.last_file == folder.files()[0].string());
  CHECK(status.last_file.find("joint_velocity_limit.mcap") != std::string::npos);
  CHECK(status.failure.empty());
  CHECK(status.ticks_lost == 0);
  CHECK(fs::file_size(folder.files()[0]) > 605 * 600);  // every tick
}

TEST_CASE("a robot that is gone is recorded under the name it is given, beside the cause before") {
  const Folder folder;
  Setup setup;
  RecorderConfig config = config_in(folder.path());
  config.after_s = 10.0;
  config.triggers.add(Fault::kDriverLost);
  FlightRecorder recorder(config, setup.controller);
  setup.run(50);
  setup.controller.faults().raise(Fault::kDriverLost);  // that alone does not say why
  recorder.driver_lost("joint_reflex", "aborted by reflex");
  recorder.trigger("operator_stop");
  recorder.trigger("operator_stop");
  setup.run(50);
  recorder.finish();
  REQUIRE(folder.files().size() == 1);
  CHECK(folder.files()[0].string().ends_with("-joint_reflex.mcap"));
  CHECK(recorder.status().last_cause == "joint_reflex, operator_stop");
}

TEST_CASE("a lost robot is not recorded unless it is a trigger") {
  const Folder folder;
  Setup setup;
  FlightRecorder recorder(config_in(folder.path()), setup.controller);
  setup.run(50);
  recorder.driver_lost("joint_reflex", "");
  recorder.finish();
  CHECK(folder.files().empty());
}

TEST_CASE("what is not a cause is not recorded") {
  const Folder folder;
  Setup setup;
  FlightRecorder recorder(config_in(folder.path()), setup.controller);
  setup.controller.request_stop();
  setup.run(50);
  recorder.finish();
  CHECK(setup.controller.faults().count(Fault::kStopRequested) == 1);
  CHECK(folder.files().empty());
}

TEST_CASE("asking for a recording returns its name; afterwards it says that it has ended") {
  const Folder folder;
  Setup setup;
  FlightRecorder recorder(config_in(folder.path()), setup.controller);
  setup.run(50);
  const fs::path file = recorder.record("../odd name");
  CHECK(file.parent_path() == folder.path());
  CHECK(file.filename().string().ends_with("-___odd_name.mcap"));
  recorder.finish();
  CHECK(fs::exists(file));
  CHECK_THROWS_WITH_AS(recorder.record("late"), doctest::Contains("stopping"), Error);
  recorder.trigger("late");
  CHECK(folder.files().size() == 1);
}

TEST_CASE("a folder that cannot be written is reported, and the ticks go on") {
  const Folder folder;
  const fs::path blocked = folder.path() / "file";
  write_bytes(blocked, 1);
  Setup setup;
  RecorderConfig config = config_in(blocked / "recordings");
  config.continuous = true;
  FlightRecorder recorder(config, setup.controller);
  setup.run(50);
  CHECK_THROWS_WITH_AS(recorder.record("test"), doctest::Contains("could not be made"), Error);
  setup.run(50);
  CHECK(setup.controller.status().ticks == 100);
  CHECK(recorder.status().failure.find(blocked.string()) != std::string::npos);
  CHECK(recorder.status().files == 0);
}

TEST_CASE("continuous recording begins a new file when one is as long as the memory") {
  const Folder folder;
  Setup setup;
  RecorderConfig config = config_in(folder.path());
  config.before_s = 0.5;
  config.continuous = true;
  FlightRecorder recorder(config, setup.controller);
  const auto enough = [&] { return recorder.status().files >= 3; };
  for (int i = 0; i < 1000 && !enough(); ++i) setup.run(100);
  recorder.finish();
  CHECK(folder.files().size() >= 3);
  CHECK(recorder.status().last_file.empty());  // no cause
}

TEST_CASE("the oldest recordings make room, other files stay") {
  const Folder folder;
  const std::vector<std::string> names{"20260101-000000.000-a.mcap", "20260102-000000.000-b.mcap",
                                       "20260103-000000.000-c.mcap"};
  for (const std::string& name : names) write_bytes(folder.path() / name, 1000);
  write_bytes(folder.path() / "mine.mcap", 100'000);
  write_bytes(folder.path() / "20260101-000000.000-a.txt", 100'000);
  make_room(folder.path(), 1000, 4000);
  CHECK(folder.files().size() == 5);
  make_room(folder.path(), 1500, 4000);
  CHECK_FALSE(fs::exists(folder.path() / names[0]));
  CHECK(fs::exists(folder.path() / names[1]));
  make_room(folder.path(), 5000, 4000);
  CHECK(folder.files().size() == 2);
}

TEST_CASE("limits and names that make no sense are refused") {
  const Folder folder;
  Setup setup;
  RecorderConfig config = config_in(folder.path());
  config.max_bytes = 1'000'000;
  CHECK_THROWS_WITH_AS(FlightRecorder(config, setup.controller), doctest::Contains("at least 2 MB"),
                       Error);
  CHECK(parse_triggers({"none"}).empty());
  CHECK(parse_triggers({"driver_lost", "missed_tick"}).has(Fault::kMissedTick));
  CHECK_THROWS_WITH_AS(parse_triggers({"missed"}), doctest::Contains("missed_tick"), Error);
}

TEST_CASE("definitions name every mode and fault") {
  const std::string definition = tick_definition();
  CHECK(definition.find("uint8 MODE_GRAVITY_COMPENSATION=") != std::string::npos);
  for (std::size_t i = 0; i < kFaults; ++i) {
    CHECK(definition.find("=" + std::to_string(std::uint32_t{1} << i) + "\n") != std::string::npos);
  }
}
