// What the cameras of a simulated scene see, drawn off screen; with a GPU or without.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "drivers/camera.hpp"

namespace serl_rt {

// What changes from episode to episode. All zero: nothing does.
struct SceneRandomisation {
  struct Colour {
    std::string material;  // of the model
    double range = 0.0;    // each of r, g, b by up to this, of 1
  };
  // A random pattern of two colours, each drawn about the material's as above.
  using Texture = Colour;

  double light_strength = 0.0;  // lights and ambient light by up to this fraction
  double light_angle = 0.0;     // [rad] each light's direction by up to this
  std::vector<Colour> colours{};
  std::vector<Texture> textures{};
  double camera_position = 0.0;  // [m] along each axis by up to this
  double camera_angle = 0.0;     // [rad] about each axis by up to this
};

// Has a model and a state of its own: the scene is given by its positions. One thread at a time
// draws; any thread may.
class SimRenderer {
 public:
  // Loads an MJCF file; an image shows what the model's camera of its name sees.
  // Throws Error: the file, a camera, a material, or a way to draw (EGL) is missing.
  SimRenderer(const std::filesystem::path& mjcf, std::vector<CameraImage> images,
              SceneRandomisation randomisation = {});
  ~SimRenderer();
  SimRenderer(SimRenderer&&) noexcept;
  SimRenderer& operator=(SimRenderer&&) noexcept;

  const std::vector<CameraImage>& images() const noexcept;

  // Draws anew what is random, from the seed.
  void randomise(std::uint64_t seed) noexcept;

  // Draws all images, one after the other into `out`, at the positions `qpos` in MuJoCo's order
  // (what is beyond the model's is ignored). False: the graphics context cannot be used, for
  // example because another thread draws.
  bool render(std::span<const double> qpos, std::span<std::byte> out) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serl_rt
