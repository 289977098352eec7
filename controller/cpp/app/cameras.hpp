// The cameras that a task's contract asks for.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "app/config.hpp"
#include "drivers/camera.hpp"
#include "drivers/sim_driver.hpp"

namespace serl_rt {

// The simulated ones; null when the contract has no images. Each shows what the model's camera of
// the image's name sees. Throws Error when there is none, or nothing to draw with.
std::unique_ptr<Cameras> make_sim_cameras(const TaskConfig& task,
                                          const std::filesystem::path& assets_dir,
                                          SimDriver& driver, Pacing pacing);

// What the contract asks for, as cameras deliver it.
std::vector<CameraImage> wanted_images(const Contract& contract);

}  // namespace serl_rt
