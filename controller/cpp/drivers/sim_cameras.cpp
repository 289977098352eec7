#include "drivers/sim_cameras.hpp"

#include <algorithm>
#include <chrono>

namespace serl_rt {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

}  // namespace

void LockstepCameras::read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept {
  const bool drawn = renderer_.render(driver_.scene().qpos, out);
  std::fill(ages_ns.begin(), ages_ns.end(), drawn ? 0 : kNoImage);
}

RealtimeCameras::RealtimeCameras(SimRenderer renderer, SimDriver& driver, double rate_hz)
    : images_(renderer.images()),
      renderer_(std::move(renderer)),
      driver_(driver),
      slot_(image_bytes(images_)),
      thread_([this, rate_hz] { run(rate_hz); }) {}

RealtimeCameras::~RealtimeCameras() {
  stopping_ = true;
  thread_.join();
}

void RealtimeCameras::read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept {
  const auto taken_ns = slot_.read(out);
  std::fill(ages_ns.begin(), ages_ns.end(), taken_ns ? now_ns() - *taken_ns : kNoImage);
}

void RealtimeCameras::begin_episode(std::uint64_t seed) noexcept {
  seed_.store(seed, std::memory_order_relaxed);
  episode_.fetch_add(1, std::memory_order_release);
}

void RealtimeCameras::run(double rate_hz) {
  const auto period =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1.0 / rate_hz));
  Clock::time_point next = Clock::now();
  while (!stopping_) {
    if (driver_.read_camera_scene(scene_)) draw();
    next = std::max(next + period, Clock::now());  // a late image is not caught up with
    std::this_thread::sleep_until(next);
  }
}

void RealtimeCameras::draw() noexcept {
  const std::int64_t taken_ns = now_ns();
  const std::uint64_t episode = episode_.load(std::memory_order_acquire);
  if (episode != drawn_episode_) {
    drawn_episode_ = episode;
    renderer_.randomise(seed_.load(std::memory_order_relaxed));
  }
  if (renderer_.render(scene_.qpos, slot_.back())) slot_.publish(taken_ns);
}

}  // namespace serl_rt
