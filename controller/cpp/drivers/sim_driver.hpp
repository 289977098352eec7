// The simulated arm as a robot: paced like the real one, or as fast as it is read.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "core/mailbox.hpp"
#include "drivers/driver.hpp"
#include "drivers/sim_world.hpp"

namespace serl_rt {

enum class Pacing : std::uint8_t { kLockstep, kRealtime };

inline constexpr std::size_t kMaxQpos = 64;         // of a model that SimDriver takes
inline constexpr std::size_t kMaxPlacedBodies = 8;  // placed together

// Everything that moves, at the time of the state that read() returned with it.
struct Scene {
  std::uint64_t placement = 0;  // number of the last placement that it includes
  std::array<double, kMaxQpos> qpos{};

  Vec3 position(FreeBody body) const noexcept { return Vec3::Map(qpos.data() + body.qpos); }
  Quat orientation(FreeBody body) const noexcept {
    const double* wxyz = qpos.data() + body.qpos + 3;
    return {wxyz[0], wxyz[1], wxyz[2], wxyz[3]};
  }
};

struct SimDriverConfig {
  std::filesystem::path mjcf;
  Pacing pacing = Pacing::kLockstep;
  Vec7 start_q = Vec7::Zero();  // [rad] where the arm is at first, and where episodes start
};

// Roles, which lockstep plays in one thread:
// - control thread: read(), write();
// - policy thread: find_object(), return_to_start(), place_*(), scene();
// - one thread that draws: read_camera_scene();
// - any thread but the control thread: the gripper, resyncs().
class SimDriver final : public RobotDriver {
 public:
  // Throws Error if the model cannot be used.
  explicit SimDriver(const SimDriverConfig& config);

  // Lockstep: returns at once. Realtime: sleeps until the next millisecond of the monotonic clock;
  // when it is more than kResyncTicks behind, it gives the missed time up instead of catching up.
  // False: the simulation has diverged.
  bool read(State& state) noexcept override;
  bool write(const Vec7& tau) noexcept override;

  // Accepted without an effect: the simulated arm is compensated for what the model has it carry.
  std::string set_load(const std::optional<RobotLoad>&) override { return {}; }

  // The free body of this name. Throws Error if the model has none.
  FreeBody find_object(std::string_view name) const { return world_.find_object(name); }

  // Take effect at the next read(); a newer call replaces an older one that was not read yet.
  // Placing the arm puts it at rest, opens the gripper, and returns all bodies to where the model
  // file has them, but for those that are placed along with it, before or after this call.
  void place_arm(const Vec7& q) noexcept;

  // Lockstep: places the arm where it was at first. Realtime: nothing, the controller moves it.
  void return_to_start() noexcept;

  void place_object(FreeBody body, const Pose& pose) noexcept;

  // Lockstep: with the arm, places a body that the model fixes to the hand, `offset` from the tool
  // centre point in the tool's frame. Realtime: nothing, it never left the hand.
  void return_held(FreeBody body, const Vec3& offset) noexcept;

  // The newest scene, with the placements that were asked for already in it.
  const Scene& scene() noexcept;

  // The newest scene, if there is one since the last call.
  bool read_camera_scene(Scene& scene) noexcept { return camera_scenes_.read(scene); }

  // Length of Scene::qpos that is in use.
  std::size_t qpos_size() const noexcept { return world_.qpos().size(); }

  // How often realtime gave up time. Any thread.
  std::uint64_t resyncs() const noexcept { return resyncs_.load(std::memory_order_relaxed); }

  static constexpr int kResyncTicks = 20;

 private:
  friend class SimGripper;

  struct PlacedBody {
    FreeBody body;
    Pose pose;
  };
  struct Placement {
    std::uint64_t number = 0;
    bool arm = false;
    Vec7 q = Vec7::Zero();
    std::size_t count = 0;
    std::array<PlacedBody, kMaxPlacedBodies> bodies{};
  };

  Placement& next_placement() noexcept;
  void apply(const Placement& placement) noexcept;
  void publish() noexcept;
  void watch_gripper(double command) noexcept;
  void wait_for_tick() noexcept;

  const Pacing pacing_;
  const Vec7 start_q_;
  Pose start_pose_;  // of the tool centre point at start_q_

  // Control thread.
  SimWorld world_;
  std::int64_t time_ns_ = 0;  // robot clock
  std::int64_t wake_ns_ = 0;  // monotonic clock: when the current tick is due; 0: not begun
  Placement arriving_;
  double last_gripper_command_ = 1.0;
  Scene published_;

  // Policy thread.
  Placement asked_;
  Scene scene_;

  // Between them.
  Mailbox<Placement> placements_;  // policy -> control
  Mailbox<Scene> scenes_;          // control -> policy
  Mailbox<Scene> camera_scenes_;   // control -> the thread that draws
  std::atomic<double> gripper_command_ = 1.0;
  std::atomic<double> gripper_opening_ = 1.0;
  std::atomic<int> gripper_still_ = 0;  // ticks since the fingers or their command moved
  std::atomic<std::uint64_t> resyncs_ = 0;
};

// The simulated arm's gripper. Must not outlive the driver.
class SimGripper final : public Gripper {
 public:
  explicit SimGripper(SimDriver& driver) noexcept : driver_(driver) {}

  void command(double opening) noexcept override;
  double opening() const noexcept override;
  double max_width() const noexcept override;
  // Speed and force are the model's.
  std::uint64_t request(const GripperCommand& command) override;
  GripperStatus status() const override;

 private:
  SimDriver& driver_;
  std::atomic<std::uint64_t> number_ = 0;
};

}  // namespace serl_rt
