#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/error.hpp"
#include "policy/noise.hpp"
#include "policy/session.hpp"
#include "policy_support.hpp"

using namespace serl_rt;
using test::contains;
using test::golden_contract;
using test::GoldenPolicy;

namespace {

constexpr std::size_t kObservation = 7;
constexpr std::size_t kAction = 4;

PolicySession bound_session(const std::string& name) {
  PolicySession session(GoldenPolicy(name).bytes);
  session.bind(golden_contract());
  return session;
}

std::string bind_refusal(const std::string& name) {
  try {
    bound_session(name);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("actions equal those of Python's ONNX Runtime") {
  PolicySession session = bound_session("version_1");
  std::ifstream rows(test::golden("version_1_expected.txt"));
  std::array<float, kObservation> observation;
  std::array<float, kAction> noise, expected, action;
  int count = 0;
  const auto read = [&rows](auto& values) {
    for (float& value : values) rows >> value;
    return static_cast<bool>(rows);
  };
  while (read(observation) && read(noise) && read(expected)) {
    REQUIRE(session.run({observation, noise, {}}, action));
    for (std::size_t i = 0; i < kAction; ++i) CHECK(std::abs(action[i] - expected[i]) < 1e-6F);
    ++count;
  }
  CHECK(count == 32);
}

TEST_CASE("the golden frame gives the action that torch computes") {
  const std::filesystem::path folder =
      std::filesystem::path(SERL_RT_SOURCE_DIR) / "tests" / "golden" / "frame";
  set_onnxruntime_hint(SERL_RT_TEST_ONNXRUNTIME);
  std::string text;
  std::ifstream contract_file(folder / "contract.txt");
  std::getline(contract_file, text);
  const Contract contract = contract_from_json(text);
  PolicySession session(read_file(folder / "policy.onnx"));
  session.bind(contract);
  std::ifstream expected(folder / "expected.txt");
  std::array<float, 7> observation;
  std::array<float, kAction> action, torch;
  for (float& value : observation) expected >> value;
  for (float& value : torch) expected >> value;
  REQUIRE(expected);
  const std::array<float, kAction> noise = {};
  std::vector<std::byte> images = read_file(folder / "frame.bin");
  REQUIRE(session.run({observation, noise, images}, action));
  for (std::size_t i = 0; i < kAction; ++i) CHECK(std::abs(action[i] - torch[i]) < 1e-4F);

  for (std::size_t i = 0; i < images.size(); i += 3) std::swap(images[i], images[i + 2]);
  std::array<float, kAction> blue_first;
  REQUIRE(session.run({observation, noise, images}, blue_first));
  float largest = 0.0F;
  for (std::size_t i = 0; i < kAction; ++i) {
    largest = std::max(largest, std::abs(blue_first[i] - torch[i]));
  }
  CHECK(largest > 1e-3F);
  images.pop_back();
  CHECK_FALSE(session.run({observation, noise, images}, action));
}

TEST_CASE("a moved session still runs, and equal inputs give equal actions") {
  PolicySession first = bound_session("version_1");
  const std::vector<float> observation(kObservation, 0.3F), noise(kAction, 0.5F);
  std::array<float, kAction> before, after;
  REQUIRE(first.run({observation, noise, {}}, before));
  PolicySession second = std::move(first);
  REQUIRE(second.run({observation, noise, {}}, after));
  CHECK(before == after);
}

TEST_CASE("a run with spans of the wrong size fails and writes nothing") {
  PolicySession session = bound_session("version_1");
  const std::vector<float> observation(kObservation), noise(kAction);
  std::array<float, kAction> action = {7.0F, 7.0F, 7.0F, 7.0F};
  CHECK(!session.run({std::span(observation).first(6), noise, {}}, action));
  CHECK(!session.run({observation, std::span(noise).first(3), {}}, action));
  CHECK(!session.run({observation, noise, {}}, std::span(action).first(3)));
  CHECK(action == std::array<float, kAction>{7.0F, 7.0F, 7.0F, 7.0F});
}

TEST_CASE("a terminated run fails instead of going on for ever") {
  PolicySession session = bound_session("version_1");
  const std::vector<float> observation(kObservation), noise(kAction);
  std::array<float, kAction> action;
  session.terminate();
  CHECK(!session.run({observation, noise, {}}, action));
}

TEST_CASE("the exporter's metadata is there, other keys are empty") {
  const GoldenPolicy policy("version_2");
  const PolicySession session(policy.bytes);
  CHECK(session.metadata("version") == "2");
  CHECK(session.metadata("training_step") == "200");
  CHECK(session.metadata("contract") == golden_contract().canonical_json());
  CHECK(session.metadata("contract_id") == golden_contract().id());
  CHECK(session.metadata("author").empty());
}

TEST_CASE("bytes that are no model are refused") {
  GoldenPolicy policy("version_1");
  CHECK_THROWS_AS(PolicySession(std::span<const std::byte>{}), Error);
  policy.bytes.resize(policy.bytes.size() / 2);
  CHECK_THROWS_AS(PolicySession{policy.bytes}, Error);
}

TEST_CASE("inputs and outputs must be those of the contract") {
  CHECK(bind_refusal("version_1").empty());
  CHECK(contains(bind_refusal("wrong_shape"), "tcp_position float32 (1, 3)"));
  CHECK(contains(bind_refusal("wrong_dtype"), "tcp_position (neither float32 nor uint8)"));
  CHECK(contains(bind_refusal("missing_input"), "gripper float32 (1, 1) is missing"));
  CHECK(contains(bind_refusal("extra_input"), "secret"));
  CHECK(contains(bind_refusal("wrong_output"), "action float32 (1, 8)"));
}

TEST_CASE("noise follows from the seed and is standard normal") {
  std::vector<float> first(100'001), second(100'001), other(100'001);
  ExplorationNoise generator(5);
  generator.fill(first);
  generator.reset(5);
  generator.fill(second);
  CHECK(first == second);
  ExplorationNoise(6).fill(other);
  CHECK(first != other);
  double mean = 0.0, square = 0.0, fourth = 0.0, neighbours = 0.0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    const double x = first[i];
    mean += x / 100'001;
    square += x * x / 100'001;
    fourth += x * x * x * x / 100'001;
    if (i > 0) neighbours += x * first[i - 1] / 100'001;
  }
  // About four standard errors of 1e5 samples.
  CHECK(std::abs(mean) < 0.013);
  CHECK(std::abs(square - 1.0) < 0.018);
  CHECK(std::abs(fourth - 3.0) < 0.13);
  CHECK(std::abs(neighbours) < 0.013);
  ExplorationNoise(5).fill(second, 0.5);
  for (std::size_t i = 0; i < first.size(); ++i) {
    REQUIRE(second[i] == doctest::Approx(0.5 * first[i]).epsilon(1e-6));
  }
}
