// Where a policy's images come from: simulated cameras, or whatever fills the slots of real ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace serl_rt {

// One camera's image: uint8 RGB, shape (height, width, 3), C order, first row on top.
struct CameraImage {
  std::string name;
  int height = 0;
  int width = 0;

  std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
  }
};

inline constexpr std::int64_t kNoImage = std::numeric_limits<std::int64_t>::max();

// The cameras of a contract, in its order. Called from the policy thread only.
class Cameras {
 public:
  virtual ~Cameras() = default;

  // What read() delivers.
  virtual const std::vector<CameraImage>& images() const noexcept = 0;

  // Copies the newest image of every camera into `out`, one after the other, and how long ago each
  // was taken into `ages_ns`; kNoImage: there was none yet, and its part of `out` is unchanged.
  virtual void read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept = 0;

  // An episode begins: whatever is random in the images follows from the seed.
  virtual void begin_episode(std::uint64_t seed) noexcept { static_cast<void>(seed); }
};

// The bytes that read() fills.
inline std::size_t image_bytes(const std::vector<CameraImage>& images) noexcept {
  std::size_t total = 0;
  for (const CameraImage& image : images) total += image.bytes();
  return total;
}

}  // namespace serl_rt
