// The tasks of the simulated arm: reach a point, pick up a cube, insert a peg.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "drivers/sim_driver.hpp"
#include "drivers/sim_renderer.hpp"
#include "drivers/task.hpp"

namespace serl_rt {

// The [sim] table of a task file. Lengths in m, positions in the base frame.
struct SimTaskConfig {
  std::string task = "pick_cube";       // pick_cube | reach | peg_insert
  std::string model = "pick_cube.xml";  // MJCF file, in the folder of the models
  bool sparse_reward = false;           // [episode] reward: 1 at success, else 0

  // pick_cube: where the centre of the cube starts, and how far up is success.
  std::array<double, 2> cube_low{0.40, -0.15};
  std::array<double, 2> cube_high{0.60, 0.15};
  double lift_height = 0.10;

  // reach: where the goal may be, and how near is success.
  Vec3 goal_low{0.35, -0.20, 0.05};
  Vec3 goal_high{0.65, 0.20, 0.40};
  double goal_tolerance = 0.02;

  // peg_insert: where the centre of the hole may be, and how deep is success.
  std::array<double, 2> hole_low{0.45, -0.08};
  std::array<double, 2> hole_high{0.55, 0.08};
  double insertion_depth = 0.025;

  // The cameras: what changes between episodes, and how many images a second in real time.
  SceneRandomisation randomisation;
  double camera_rate_hz = 30.0;
};

// Empty, or the first thing that is wrong: name, value, what is allowed.
std::string validate(const SimTaskConfig& config);

// The task that the configuration names. `driver` must outlive it. Throws Error with validate()'s
// words, or if the model lacks what the task needs.
std::unique_ptr<Task> make_sim_task(const SimTaskConfig& config, SimDriver& driver);

}  // namespace serl_rt
