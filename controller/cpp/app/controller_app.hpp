// The program: puts the parts together, runs them until the work is done or somebody interrupts,
// and takes them down in an order that leaves the arm at rest and nothing unacknowledged.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "app/config.hpp"
#include "app/console.hpp"
#include "app/flight_recorder.hpp"
#include "app/options.hpp"
#include "app/policy_loop.hpp"
#include "app/ports.hpp"
#include "app/robot.hpp"
#include "app/robot_connection.hpp"
#include "app/services.hpp"
#include "app/signals.hpp"
#include "app/summary.hpp"
#include "app/transition_sink.hpp"
#include "core/control_loop.hpp"
#include "link/camera_receiver.hpp"
#include "link/link.hpp"
#include "policy/policy_manager.hpp"

namespace serl_rt {

class ControllerApp {
 public:
  // Throws Error: a file, an address or a library is wrong or missing.
  explicit ControllerApp(const Options& options);
  ~ControllerApp();

  // Returns after the episodes or steps that were asked for, or after SIGINT or SIGTERM.
  // Throws Error when the robot or the link is lost for good.
  Summary run(const SignalGuard& signals);

 private:
  void load_first_policy();
  std::unique_ptr<CameraReceiver> make_receiver();
  std::unique_ptr<Link> make_link();
  PolicyOutcome receive_policy(const ReceivedPolicy& policy);
  void start_control_thread();
  void run_control_thread();
  void run_policy_thread();
  bool drain();
  void report();
  void report_progress();
  void stop();
  Summary summarise() const;

  Options options_;
  TaskConfig task_;
  double started_s_;

  std::atomic<bool> stop_policy_ = false;
  std::atomic<bool> stop_control_ = false;
  std::atomic<bool> policy_done_ = false;
  std::atomic<bool> abandon_ = false;  // do not wait for acknowledgements
  std::atomic<bool> halted_ = false;   // an operator's stop, until resume

  Robot robot_;
  Controller controller_;
  std::unique_ptr<FlightRecorder> recorder_;  // null: none
  ControlLoop loop_;
  RobotConnection connection_;
  std::unique_ptr<ControlPort> port_;
  RealtimePort* realtime_port_ = nullptr;  // port_, when it is one
  std::shared_ptr<Messaging> messaging_;
  std::unique_ptr<CameraReceiver> receiver_;  // of pushed images; null: the robot has its cameras
  std::unique_ptr<RewardClassifier> classifier_;  // null: the task decides about the reward
  Environment environment_;
  PolicyManager policies_;
  std::unique_ptr<Link> link_;
  LinkSink sink_;
  PolicyLoop policy_loop_;
  Services services_;

  std::thread control_thread_;
  std::thread policy_thread_;
  std::atomic<bool> driver_lost_ = false;

  mutable std::mutex mutex_;  // the three below
  std::vector<EpisodeResult> episodes_;
  std::vector<std::string> not_granted_;
  std::string policy_failure_;
  std::atomic<bool> acknowledged_ = true;
  Console console_;  // main thread
};

}  // namespace serl_rt
