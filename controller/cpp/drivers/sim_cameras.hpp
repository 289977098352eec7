// The cameras of the simulated arm in both pacings.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "drivers/camera.hpp"
#include "drivers/image_slot.hpp"
#include "drivers/sim_driver.hpp"
#include "drivers/sim_renderer.hpp"

namespace serl_rt {

// Simulated time: draws when asked, so that images belong exactly to the state that was read.
class LockstepCameras final : public Cameras {
 public:
  // `driver` must outlive this.
  LockstepCameras(SimRenderer renderer, SimDriver& driver)
      : renderer_(std::move(renderer)), driver_(driver) {}

  const std::vector<CameraImage>& images() const noexcept override { return renderer_.images(); }
  void read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept override;
  void begin_episode(std::uint64_t seed) noexcept override { renderer_.randomise(seed); }

 private:
  SimRenderer renderer_;
  SimDriver& driver_;
};

// Wall clock: a thread of its own draws at the cameras' rate, from the newest positions, as cameras
// do; the control thread never waits for it.
class RealtimeCameras final : public Cameras {
 public:
  // Starts drawing. `driver` must outlive this; nobody else may read its camera scenes.
  RealtimeCameras(SimRenderer renderer, SimDriver& driver, double rate_hz);
  ~RealtimeCameras() override;

  const std::vector<CameraImage>& images() const noexcept override { return images_; }
  void read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept override;
  void begin_episode(std::uint64_t seed) noexcept override;

 private:
  void run(double rate_hz);
  void draw() noexcept;

  const std::vector<CameraImage> images_;

  // The drawing thread.
  SimRenderer renderer_;
  SimDriver& driver_;
  Scene scene_;
  std::uint64_t drawn_episode_ = 0;

  // Between the threads.
  ImageSlot slot_;  // all images: they are taken at the same time
  std::atomic<std::uint64_t> seed_ = 0;
  std::atomic<std::uint64_t> episode_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace serl_rt
