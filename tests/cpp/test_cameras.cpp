// Images: the slot between threads, what the simulated cameras draw, what an environment does with
// images that are too old.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <thread>

#include "core/error.hpp"
#include "drivers/image_slot.hpp"
#include "drivers/pattern.hpp"
#include "drivers/sim_cameras.hpp"
#include "idle_port.hpp"
#include "policy/environment.hpp"
#include "sim_support.hpp"

using namespace serl_rt;
using test::IdlePort;

namespace {

const std::vector<CameraImage> kImages = {{"front", 48, 64}, {"wrist", 32, 32}};
using Image = std::vector<std::byte>;

Image draw(SimRenderer& renderer, SimDriver& driver) {
  Image image(image_bytes(renderer.images()));
  REQUIRE(renderer.render(driver.scene().qpos, image));
  return image;
}

SimDriver make_driver() {
  return SimDriver({test::asset("pick_cube.xml"), Pacing::kLockstep, test::home()});
}

double difference(const Image& a, const Image& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += std::abs(std::to_integer<int>(a[i]) - std::to_integer<int>(b[i]));
  }
  return sum / static_cast<double>(a.size());
}

// Cameras whose images are as old as a test says.
class AgedCameras final : public Cameras {
 public:
  const std::vector<CameraImage>& images() const noexcept override { return images_; }
  void read(std::span<std::byte> out, std::span<std::int64_t> ages_ns) noexcept override {
    std::fill(out.begin(), out.end(), static_cast<std::byte>(++number));
    std::copy(ages.begin(), ages.end(), ages_ns.begin());
  }

  std::vector<std::int64_t> ages{0, 0};
  int number = 0;

 private:
  std::vector<CameraImage> images_{{"front", 2, 2}, {"wrist", 2, 2}};
};

Contract seeing_contract() {
  return contract_from_json(R"({"name":"see","policy_rate_hz":10,
    "workspace":{"low":[0.3,-0.2,0.0],"high":[0.7,0.2,0.5]},
    "observation":[{"name":"gripper","shape":[1],"unit":"1","frame":"","low":[0],"high":[1]}],
    "images":[{"name":"front","height":2,"width":2},{"name":"wrist","height":2,"width":2}],
    "action":[{"name":"tcp_delta","shape":[3],"scale":[0.01,0.01,0.01]}]})");
}

}  // namespace

TEST_CASE("a slot hands over whole images, newest first") {
  ImageSlot slot(1000);
  std::vector<std::byte> seen(1000);
  CHECK_FALSE(slot.read(seen));
  constexpr int kCount = 20'000;
  std::thread writer([&] {
    for (int i = 1; i <= kCount; ++i) {
      std::ranges::fill(slot.back(), static_cast<std::byte>(i));
      slot.publish(i);
    }
  });
  std::int64_t last = 0;
  int torn = 0;
  int older = 0;
  while (last < kCount) {
    const auto time = slot.read(seen);
    if (!time) continue;
    if (*time < last) ++older;
    last = *time;
    for (const std::byte value : seen) torn += value != static_cast<std::byte>(*time);
  }
  writer.join();
  CHECK(torn == 0);
  CHECK(older == 0);
  CHECK(slot.read(seen) == kCount);  // it stays until there is another
}

TEST_CASE("the simulated cameras show the scene, the same for the same positions") {
  SimDriver driver = make_driver();
  SimRenderer renderer(test::asset("pick_cube.xml"), kImages);
  SimRenderer another(test::asset("pick_cube.xml"), kImages);
  const Image first = draw(renderer, driver);
  CHECK(first.size() == 48 * 64 * 3 + 32 * 32 * 3);
  CHECK(draw(another, driver) == first);
  driver.place_object(driver.find_object("cube"), {Vec3(0.45, 0.1, 0.02), Quat::Identity()});
  const Image moved = draw(renderer, driver);
  CHECK(moved != first);
  // The cube is red; the first row is on top: the sky is brighter than the table.
  const auto red = [](const Image& image, std::size_t begin, std::size_t end) {
    std::size_t count = 0;
    for (std::size_t i = begin; i < end; i += 3) {
      const auto value = [&](std::size_t c) { return std::to_integer<int>(image[i + c]); };
      count += value(0) > 100 && value(1) < 70 && value(2) < 70;
    }
    return count;
  };
  const std::size_t front = 48 * 64 * 3;
  CHECK(red(first, 0, front) > 3);
  CHECK(red(first, front, first.size()) > 3);
  CHECK(red(first, 0, front / 2) == 0);
}

TEST_CASE("what is random in an episode's images follows from its seed") {
  SimDriver driver = make_driver();
  const Image plain = [&] {
    SimRenderer renderer(test::asset("pick_cube.xml"), kImages);
    renderer.randomise(1);  // nothing is random in it
    return draw(renderer, driver);
  }();
  const SceneRandomisation cases[] = {
      {.light_strength = 0.5},
      {.light_angle = 0.5},
      {.colours = {{"table", 0.3}}},
      {.camera_position = 0.02},
      {.camera_angle = 0.05},
      {.textures = {{"table", 0.3}}},
      {.textures = {{"floor", 0.5}}},
      {.colours = {{"table", 0.2}}, .textures = {{"table", 0.2}, {"cube", 0.2}}},
  };
  for (const SceneRandomisation& random : cases) {
    SimRenderer renderer(test::asset("pick_cube.xml"), kImages, random);
    CHECK(draw(renderer, driver) == plain);
    renderer.randomise(7);
    const Image seven = draw(renderer, driver);
    CHECK(difference(seven, plain) > 0.1);
    renderer.randomise(8);
    CHECK(difference(draw(renderer, driver), seven) > 0.05);
    renderer.randomise(7);
    CHECK(draw(renderer, driver) == seven);
  }
}

TEST_CASE("what the model does not have is named with what it has") {
  CHECK_THROWS_WITH_AS(SimRenderer(test::asset("pick_cube.xml"), {{"back", 8, 8}}),
                       doctest::Contains("it has overview, front, wrist"), Error);
  CHECK_THROWS_WITH_AS(
      SimRenderer(test::asset("pick_cube.xml"), kImages, {.colours = {{"gold", 0.1}}}),
      doctest::Contains("cube"), Error);
  CHECK_THROWS_WITH_AS(
      SimRenderer(test::asset("pick_cube.xml"), kImages, {.textures = {{"gold", 0.1}}}),
      doctest::Contains("no material named \"gold\"; it has"), Error);
  CHECK_THROWS_WITH_AS(SimRenderer(test::asset("pick_cube.xml"), kImages,
                                   {.textures = {{"table", 0.1}, {"table", 0.2}}}),
                       doctest::Contains("\"table\" is given two"), Error);
}

TEST_CASE("random patterns: all kinds, between the two colours, the same for the same seed") {
  constexpr int kSize = 32;
  constexpr Rgb kFrom{0.2, 0.5, 1.0};
  constexpr Rgb kTo{0.4, 0.5, 0.0};
  std::size_t checkerboards = 0;
  std::size_t others = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    std::vector<std::uint8_t> pixels(kSize * kSize * 3);
    std::vector<std::uint8_t> again(pixels.size());
    Random random(seed);
    draw_pattern(random, kFrom, kTo, kSize, pixels);
    Random same(seed);
    draw_pattern(same, kFrom, kTo, kSize, again);
    CHECK(pixels == again);
    std::set<int> blues;
    for (std::size_t i = 0; i < pixels.size(); i += 3) {
      CHECK(pixels[i] >= 51);
      CHECK(pixels[i] <= 102);
      CHECK(pixels[i + 1] == 128);
      blues.insert(pixels[i + 2]);
    }
    CHECK(blues.size() > 1);
    ++(blues.size() == 2 ? checkerboards : others);
  }
  CHECK(checkerboards > 4);
  CHECK(others > 15);
}

TEST_CASE("drawing in another thread than making works; two renderers do not disturb each other") {
  SimDriver driver = make_driver();
  SimRenderer renderer(test::asset("pick_cube.xml"), kImages);
  const Image here = draw(renderer, driver);
  const Scene scene = driver.scene();
  Image there(here.size());
  std::thread thread([&] {
    SimRenderer another(test::asset("pick_cube.xml"), kImages);
    for (int i = 0; i < 5; ++i) {
      if (!another.render(scene.qpos, there)) there.clear();
      if (!renderer.render(scene.qpos, there)) there.clear();
    }
  });
  thread.join();
  CHECK(there == here);
  CHECK(draw(renderer, driver) == here);
}

TEST_CASE("in real time a thread draws, and images age when the scene stands still") {
  SimDriver driver({test::asset("pick_cube.xml"), Pacing::kRealtime, test::home()});
  RealtimeCameras cameras(SimRenderer(test::asset("pick_cube.xml"), kImages), driver, 100.0);
  Image image(image_bytes(kImages));
  std::vector<std::int64_t> ages(2);
  State state;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  do {
    REQUIRE(driver.read(state));
    REQUIRE(driver.write(Vec7::Zero()));
    cameras.read(image, ages);
  } while (ages[0] == kNoImage && std::chrono::steady_clock::now() < deadline);
  REQUIRE(ages[0] != kNoImage);
  CHECK(ages[0] == ages[1]);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // nobody ticks
  cameras.read(image, ages);
  const std::int64_t first = ages[0];
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  cameras.read(image, ages);
  CHECK(ages[0] >= first + 20'000'000);
}

TEST_CASE("an action that was chosen by old images is refused by name") {
  const Contract contract = seeing_contract();
  IdlePort port;
  AgedCameras cameras;
  EpisodeConfig config;
  config.max_image_age_s = 0.2;
  Environment environment(contract, config, fr3_limits(), port, nullptr, &cameras);
  const std::vector<float> action(3, 0.5F);
  REQUIRE(environment.reset(0));
  CHECK(environment.images_fresh());
  CHECK(environment.images()[0] == std::byte{1});

  auto result = environment.step(action, 1);
  REQUIRE(result);
  CHECK_FALSE(result->fault);
  CHECK(port.targets == 1);
  CHECK(environment.previous_images()[0] == std::byte{1});
  CHECK(environment.images()[23] == std::byte{2});

  cameras.ages = {0, 300'000'000};  // one camera is enough
  REQUIRE(environment.step(action, 1));
  CHECK(port.targets == 2);  // chosen before
  CHECK_FALSE(environment.images_fresh());
  for (const std::int64_t age : {std::int64_t{300'000'000}, kNoImage, std::int64_t{0}}) {
    cameras.ages = {0, age};
    result = environment.step(action, 1);
    REQUIRE(result);
    REQUIRE(result->fault);
    CHECK(*result->fault == Fault::kImageStale);
    CHECK(result->fault_value >= 0.3);
    CHECK(result->fault_limit == 0.2);
    CHECK(port.targets == 2);
  }
  CHECK_FALSE(environment.step(action, 1)->fault);  // fresh again
  CHECK(port.targets == 3);
}

TEST_CASE("a person's action is executed whatever the images are, a wrong one is not") {
  const Contract contract = seeing_contract();
  IdlePort port;
  AgedCameras cameras;
  cameras.ages = {0, kNoImage};
  Environment environment(contract, {}, fr3_limits(), port, nullptr, &cameras);
  REQUIRE(environment.reset(0));
  CHECK_FALSE(environment.images_fresh());
  std::vector<float> action(3, 0.5F);
  auto result = environment.step(action, 1, Source::kOperator);
  REQUIRE(result);
  CHECK_FALSE(result->fault);
  CHECK(port.targets == 1);
  action[1] = std::numeric_limits<float>::quiet_NaN();
  result = environment.step(action, 1, Source::kOperator);
  REQUIRE(result);
  REQUIRE(result->fault);
  CHECK(*result->fault != Fault::kImageStale);
  CHECK(port.targets == 1);
}

TEST_CASE("an action that changes the gripper's command costs the grasp penalty, others do not") {
  Contract contract = seeing_contract();
  contract.images.clear();
  ActionField gripper;
  gripper.name = "gripper";
  gripper.shape = {1};
  gripper.kind = "binary";
  gripper.threshold = 0.1;
  contract.action.push_back(gripper);
  IdlePort port;
  EpisodeConfig config;  // an episode begins with an open gripper
  config.grasp_penalty = -0.02;
  Environment environment(contract, config, fr3_limits(), port, nullptr);
  REQUIRE(environment.reset(0));
  const auto penalty = [&](float command) {
    const std::vector<float> action = {0.0F, 0.0F, 0.0F, command};
    const auto result = environment.step(action, 1);
    REQUIRE(result);
    return result->grasp_penalty;
  };
  CHECK(penalty(1.0F) == 0.0F);  // open already
  CHECK(penalty(-1.0F) == -0.02F);
  CHECK(penalty(-1.0F) == 0.0F);                                    // closed already
  CHECK(penalty(0.05F) == 0.0F);                                    // keeps
  CHECK(penalty(std::numeric_limits<float>::quiet_NaN()) == 0.0F);  // refused
  CHECK(penalty(0.5F) == -0.02F);
}

TEST_CASE("an environment refuses cameras that are not the contract's") {
  const Contract contract = seeing_contract();
  IdlePort port;
  const auto refusal = [&](Contract wanted, Cameras* cameras) -> std::string {
    try {
      const Environment environment(wanted, {}, fr3_limits(), port, nullptr, cameras);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  AgedCameras cameras;
  CHECK(refusal(contract, &cameras).empty());
  CHECK(refusal(contract, nullptr).find("'front': there is no such camera") != std::string::npos);
  Contract other = contract;
  other.images[1].width = 3;
  CHECK(refusal(other, &cameras).find("'wrist' is 2 x 3, but the camera gives 2 x 2") !=
        std::string::npos);
  other = contract;
  std::swap(other.images[0].name, other.images[1].name);
  CHECK(refusal(other, &cameras).find("'wrist': there is no such camera") != std::string::npos);
}
