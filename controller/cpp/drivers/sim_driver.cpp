#include "drivers/sim_driver.hpp"

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <string>

#include "core/error.hpp"

namespace serl_rt {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr double kFingersMove = 1e-5;  // of the opening, in a tick: 0.8 mm/s
constexpr int kStillTicks = 50;        // so long without moving: a command has been executed
constexpr double kBlocked = 0.02;      // of the opening, from what was commanded: something is held

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

void sleep_until(std::int64_t time_ns) noexcept {
  const timespec until{time_ns / kNsPerSecond, time_ns % kNsPerSecond};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

}  // namespace

SimDriver::SimDriver(const SimDriverConfig& config)
    : pacing_(config.pacing), start_q_(config.start_q), world_(config.mjcf) {
  if (qpos_size() > kMaxQpos) {
    throw Error("the MuJoCo model " + config.mjcf.string() + " has " + std::to_string(qpos_size()) +
                " positions; at most " + std::to_string(kMaxQpos) + " are allowed");
  }
  world_.reset(config.start_q, 1.0);
  State state;
  world_.observe(state);
  start_pose_ = state.O_T_EE;
  world_.reset(config.start_q, 1.0);
  publish();
}

bool SimDriver::read(State& state) noexcept {
  if (pacing_ == Pacing::kRealtime) wait_for_tick();
  if (placements_.read(arriving_)) apply(arriving_);
  const double gripper = gripper_command_.load(std::memory_order_relaxed);
  world_.command_gripper(gripper);
  watch_gripper(gripper);
  world_.observe(state);
  state.time_ns = time_ns_;
  publish();
  return world_.healthy();
}

bool SimDriver::write(const Vec7& tau) noexcept {
  world_.step(tau);
  time_ns_ += kTickNs;
  return world_.healthy();
}

void SimDriver::wait_for_tick() noexcept {
  const std::int64_t now = monotonic_ns();
  if (wake_ns_ == 0) wake_ns_ = now;
  wake_ns_ += kTickNs;
  if (now - wake_ns_ > kResyncTicks * kTickNs) {
    wake_ns_ = now;
    resyncs_.fetch_add(1, std::memory_order_relaxed);
  } else {
    sleep_until(wake_ns_);
  }
}

void SimDriver::apply(const Placement& placement) noexcept {
  if (placement.arm) world_.reset(placement.q, 1.0);
  for (std::size_t i = 0; i < placement.count; ++i) {
    world_.place_object(placement.bodies[i].body, placement.bodies[i].pose);
  }
  published_.placement = placement.number;
}

void SimDriver::publish() noexcept {
  std::ranges::copy(world_.qpos(), published_.qpos.begin());
  scenes_.write(published_);
  camera_scenes_.write(published_);
  gripper_opening_.store(world_.gripper_opening(), std::memory_order_relaxed);
}

void SimDriver::watch_gripper(double command) noexcept {
  const double moved =
      std::abs(world_.gripper_opening() - gripper_opening_.load(std::memory_order_relaxed));
  const bool still = command == last_gripper_command_ && moved < kFingersMove;
  last_gripper_command_ = command;
  const int ticks = gripper_still_.load(std::memory_order_relaxed);
  gripper_still_.store(still ? std::min(ticks + 1, kStillTicks) : 0, std::memory_order_relaxed);
}

// What was asked for and may not have been read yet stays part of the next placement.
SimDriver::Placement& SimDriver::next_placement() noexcept {
  scenes_.read(scene_);
  if (scene_.placement == asked_.number) asked_ = Placement{.number = asked_.number};
  ++asked_.number;
  return asked_;
}

void SimDriver::place_arm(const Vec7& q) noexcept {
  gripper_command_.store(1.0, std::memory_order_relaxed);
  Placement& placement = next_placement();
  placement.arm = true;
  placement.q = q;
  placements_.write(placement);
}

void SimDriver::return_to_start() noexcept {
  if (pacing_ == Pacing::kLockstep) place_arm(start_q_);
}

void SimDriver::place_object(FreeBody body, const Pose& pose) noexcept {
  Placement& placement = next_placement();
  const auto end = placement.bodies.begin() + static_cast<std::ptrdiff_t>(placement.count);
  auto slot = std::find_if(placement.bodies.begin(), end,
                           [&](const PlacedBody& placed) { return placed.body.qpos == body.qpos; });
  if (slot == end) {
    if (placement.count == kMaxPlacedBodies) return;
    ++placement.count;
  }
  *slot = {body, pose};
  placements_.write(placement);
}

void SimDriver::return_held(FreeBody body, const Vec3& offset) noexcept {
  if (pacing_ != Pacing::kLockstep) return;
  const Quat& orientation = start_pose_.orientation;
  place_object(body, {start_pose_.position + orientation * offset, orientation});
}

const Scene& SimDriver::scene() noexcept {
  scenes_.read(scene_);
  if (scene_.placement != asked_.number) {
    if (asked_.arm) std::copy_n(asked_.q.data(), kJoints, scene_.qpos.begin());
    for (std::size_t i = 0; i < asked_.count; ++i) {
      const auto& [body, pose] = asked_.bodies[i];
      double* qpos = scene_.qpos.data() + body.qpos;
      Vec3::Map(qpos) = pose.position;
      qpos[3] = pose.orientation.w();
      Vec3::Map(qpos + 4) = pose.orientation.vec();
    }
  }
  return scene_;
}

void SimGripper::command(double opening) noexcept {
  driver_.gripper_command_.store(std::clamp(opening, 0.0, 1.0), std::memory_order_relaxed);
}

double SimGripper::opening() const noexcept {
  return driver_.gripper_opening_.load(std::memory_order_relaxed);
}

double SimGripper::max_width() const noexcept { return driver_.world_.max_gripper_width(); }

std::uint64_t SimGripper::request(const GripperCommand& command) {
  using Kind = GripperCommand::Kind;
  if (!(command.width >= 0.0 && command.width <= max_width() + 1e-9)) {
    throw Error("gripper width " + std::to_string(command.width) + " m is not in [0, " +
                std::to_string(max_width()) + "] m");
  }
  driver_.gripper_still_.store(0, std::memory_order_relaxed);
  if (command.kind == Kind::kMove) this->command(command.width / max_width());
  if (command.kind == Kind::kGrasp) this->command(0.0);
  if (command.kind == Kind::kStop) this->command(opening());
  return ++number_;
}

GripperStatus SimGripper::status() const {
  GripperStatus status;
  const double command = driver_.gripper_command_.load(std::memory_order_relaxed);
  status.opening = opening();
  status.width = status.opening * max_width();
  status.moving = driver_.gripper_still_.load(std::memory_order_relaxed) < kStillTicks;
  status.grasped = !status.moving && command < status.opening - kBlocked;
  status.done = number_ - (status.moving && number_ > 0 ? 1 : 0);
  return status;
}

}  // namespace serl_rt
