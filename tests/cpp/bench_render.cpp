// How long drawing the simulated cameras takes: prints one JSON object, durations in milliseconds.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "drivers/sim_driver.hpp"
#include "drivers/sim_renderer.hpp"

int main(int argc, char** argv) {
  using namespace serl_rt;
  std::string model = std::string(SERL_RT_SOURCE_DIR) + "/sim/assets/pick_cube.xml";
  int size = 128;
  int images = 500;
  bool textures = false;
  int episode = 50;
  CLI::App app("Draws the front and the wrist camera again and again");
  app.add_option("--model", model);
  app.add_option("--size", size, "height and width of both images")->check(CLI::Range(1, 1024));
  app.add_option("--images", images, "pairs of images")->check(CLI::Range(1, 1'000'000));
  app.add_flag("--textures", textures, "with random textures on the table and the floor");
  app.add_option("--episode", episode,
                 "pairs of images of an episode, after which the scene is randomised")
      ->check(CLI::Range(1, 1'000'000));
  CLI11_PARSE(app, argc, argv);

  SimDriver driver({model, Pacing::kLockstep, Vec7{0.0, -0.27, 0.0, -2.43, 0.0, 2.16, 0.785}});
  SceneRandomisation random;
  if (textures) random.textures = {{"table", 0.3}, {"floor", 0.3}};
  SimRenderer renderer(model, {{"front", size, size}, {"wrist", size, size}}, random);
  std::vector<std::byte> out(image_bytes(renderer.images()));
  Scene scene = driver.scene();
  std::vector<double> durations_ms;
  for (int i = 0; i < images; ++i) {
    scene.qpos[0] = 0.001 * i;
    const auto begin = std::chrono::steady_clock::now();
    if (i % episode == 0) renderer.randomise(static_cast<std::uint64_t>(i));
    if (!renderer.render(scene.qpos, out)) return 1;
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    durations_ms.push_back(took.count());
  }
  std::sort(durations_ms.begin(), durations_ms.end());
  const auto at = [&](double share) {
    return durations_ms[static_cast<std::size_t>(share * static_cast<double>(images - 1))];
  };
  std::printf("{\"size\": %d, \"min_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", size,
              at(0.0), at(0.5), at(0.99));
  return 0;
}
