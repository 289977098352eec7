#include "app/cameras.hpp"

#include <utility>

#include "core/error.hpp"
#include "drivers/sim_cameras.hpp"

namespace serl_rt {

std::vector<CameraImage> wanted_images(const Contract& contract) {
  std::vector<CameraImage> images;
  for (const ImageField& image : contract.images) {
    images.push_back({image.name, image.height, image.width});
  }
  return images;
}

std::unique_ptr<Cameras> make_sim_cameras(const TaskConfig& task,
                                          const std::filesystem::path& assets_dir,
                                          SimDriver& driver, Pacing pacing) {
  if (task.contract.images.empty()) return nullptr;
  SimRenderer renderer(assets_dir / task.sim.model, wanted_images(task.contract),
                       task.sim.randomisation);
  if (pacing == Pacing::kLockstep) {
    return std::make_unique<LockstepCameras>(std::move(renderer), driver);
  }
  return std::make_unique<RealtimeCameras>(std::move(renderer), driver, task.sim.camera_rate_hz);
}

}  // namespace serl_rt
