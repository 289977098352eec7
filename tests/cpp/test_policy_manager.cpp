#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <fstream>
#include <thread>

#include "core/error.hpp"
#include "policy/policy_manager.hpp"
#include "policy_support.hpp"

using namespace serl_rt;
using test::contains;
using test::golden_contract;
using test::GoldenPolicy;
using test::TemporaryFolder;

namespace {

// Warm-up limits that a loaded machine or a sanitizer does not reach with a good policy, unlike
// the policies that are slow on purpose.
PolicyManagerOptions options(const std::filesystem::path& store = {}) {
  PolicyManagerOptions chosen;
  chosen.store = store;
  chosen.verify.patience = std::chrono::milliseconds(1000);
  return chosen;
}

std::array<float, 4> act(const Policy* policy) {
  REQUIRE(policy != nullptr);
  const std::array<float, 7> observation = {0.4F, 0.1F, 0.2F, 1.0F, 0.5F, 0.0F, 0.3F};
  const std::array<float, 4> noise = {};
  std::array<float, 4> action{};
  REQUIRE(policy->session().run({observation, noise, {}}, action));
  return action;
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

}  // namespace

TEST_CASE("no policy acts before the first, then the newest does from the next step on") {
  PolicyManager manager(golden_contract(), options());
  CHECK(manager.acquire() == nullptr);
  CHECK(manager.offer(GoldenPolicy("version_1", 1).offer()).accepted);
  CHECK(manager.status().active_version == 0);
  const Policy* first = manager.acquire();
  CHECK(first->version() == 1);
  const auto first_action = act(first);
  const PolicyVerdict verdict = manager.offer(GoldenPolicy("version_2", 2).offer());
  CHECK(verdict.accepted);
  CHECK(verdict.swap_ms > 0.0);
  CHECK(act(first) == first_action);  // until the step ends
  const Policy* second = manager.acquire();
  CHECK(second->version() == 2);
  CHECK(act(second) != first_action);
  const PolicyStatus status = manager.status();
  CHECK(status.active_version == 2);
  CHECK(status.accepted_version == 2);
  CHECK(status.swapped == 2);
  CHECK(status.refused == 0);
}

TEST_CASE("whatever is wrong with a new policy, the old one goes on acting") {
  PolicyManager manager(golden_contract(), options());
  REQUIRE(manager.offer(GoldenPolicy("version_2", 2).offer()).accepted);
  const auto before = act(manager.acquire());
  std::uint64_t refused = 0;
  const auto check_refused = [&](const PolicyOffer& offer, const std::string& reason) {
    CAPTURE(reason);
    const PolicyVerdict verdict = manager.offer(offer);
    CHECK(!verdict.accepted);
    CHECK_MESSAGE(contains(verdict.reason, reason), verdict.reason);
    CHECK(act(manager.acquire()) == before);
    const PolicyStatus status = manager.status();
    CHECK(status.active_version == 2);
    CHECK(status.refused == ++refused);
    CHECK(status.last_refusal == verdict.reason);
  };
  const std::array<std::pair<const char*, const char*>, 10> wrong = {{
      {"other_contract", "the same task file"},
      {"no_metadata", "no contract"},
      {"wrong_shape", "tcp_position"},
      {"wrong_output", "action"},
      {"wrong_dtype", "float32"},
      {"missing_input", "gripper"},
      {"extra_input", "secret"},
      {"not_a_number", "finite"},
      {"out_of_range", "[-1, 1]"},
      {"slow", "too slow"},
  }};
  for (const auto& [name, reason] : wrong) check_refused(GoldenPolicy(name).offer(), reason);
  check_refused(GoldenPolicy("endless").offer(), "did not end");

  const GoldenPolicy good("version_3", 3);
  PolicyOffer offer = good.offer();
  offer.bytes = offer.bytes.first(offer.size / 2);
  check_refused(offer, "bytes arrived");
  offer.size = offer.bytes.size();
  check_refused(offer, "damaged");
  offer.sha256 = sha256_hex(offer.bytes);
  check_refused(offer, "not a usable ONNX model");
  GoldenPolicy flipped("version_3", 3);
  flipped.bytes[flipped.bytes.size() / 2] ^= std::byte{1};
  offer = good.offer();
  offer.bytes = flipped.bytes;
  check_refused(offer, "damaged");
  offer = good.offer();
  offer.version = 4;
  check_refused(offer, "version '3' in its metadata");
  check_refused(GoldenPolicy("version_2", 2).offer(), "not newer");
  check_refused(GoldenPolicy("version_1", 1).offer(), "not newer");

  CHECK(manager.offer(good.offer()).accepted);
  CHECK(manager.acquire()->version() == 3);
}

TEST_CASE("a policy that sees other images than the contract's is refused by name") {
  const Contract contract = contract_from_json(test::golden_contract_text("seeing").first);
  PolicyManager manager(contract, options());
  const std::array<std::pair<const char*, const char*>, 5> wrong = {{
      {"image_wrong_shape", "wrist uint8 (1, 4, 6, 3)"},
      {"image_wrong_dtype", "front uint8 (1, 4, 6, 3)"},
      {"image_channels_first", "front uint8 (1, 4, 6, 3)"},
      {"image_grey", "front uint8 (1, 4, 6, 3)"},
      {"image_missing", "wrist uint8 (1, 4, 6, 3) is missing"},
  }};
  for (const auto& [name, reason] : wrong) {
    CAPTURE(name);
    const PolicyVerdict verdict = manager.offer(GoldenPolicy(name).offer());
    CHECK_FALSE(verdict.accepted);
    CHECK_MESSAGE(contains(verdict.reason, reason), verdict.reason);
    CHECK(manager.acquire() == nullptr);
  }
  CHECK(manager.offer(GoldenPolicy("image_right").offer()).accepted);
}

TEST_CASE("another learner may start again from version 1") {
  PolicyManager manager(golden_contract(), options());
  REQUIRE(manager.offer(GoldenPolicy("version_3", 3).offer()).accepted);
  CHECK(!manager.offer(GoldenPolicy("version_1", 1).offer()).accepted);
  manager.new_learner();
  CHECK(manager.offer(GoldenPolicy("version_1", 1).offer()).accepted);
  CHECK(!manager.offer(GoldenPolicy("version_1", 1).offer()).accepted);
}

TEST_CASE("a restart begins with the newest stored policy that is whole") {
  const TemporaryFolder folder;
  {
    PolicyManager manager(golden_contract(), options(folder.path()));
    CHECK(!manager.load_last_good().accepted);
    for (const char* name : {"version_1", "version_2", "version_3"}) {
      const auto version = static_cast<std::uint64_t>(name[8] - '0');
      REQUIRE(manager.offer(GoldenPolicy(name, version).offer()).accepted);
    }
  }
  const auto files = files_in(folder.path());
  REQUIRE(files.size() == 3);
  PolicyManager restarted(golden_contract(), options(folder.path()));
  CHECK(restarted.load_last_good().version == 3);

  for (const auto& file : files) {
    if (contains(file.string(), "-v3-")) std::filesystem::resize_file(file, 100);
  }
  std::ofstream(files[0].parent_path() / "policy-9-v9-half.onnx.tmp") << "half written";
  std::ofstream(files[0].parent_path() / "notes.txt") << "something else";
  PolicyManager damaged(golden_contract(), options(folder.path()));
  const PolicyVerdict verdict = damaged.load_last_good();
  CHECK(verdict.accepted);
  CHECK(verdict.version == 2);
  CHECK(damaged.acquire()->version() == 2);
  CHECK(damaged.status().refused == 1);
  // The learner that comes after a restart may count from 1.
  CHECK(damaged.offer(GoldenPolicy("version_1", 1).offer()).accepted);
}

TEST_CASE("policies of another contract are no candidates") {
  const TemporaryFolder folder;
  PolicyManager first(golden_contract(), options(folder.path()));
  REQUIRE(first.offer(GoldenPolicy("version_1", 1).offer()).accepted);
  Contract other = golden_contract();
  other.policy_rate_hz = 50.0;
  PolicyManager second(other, options(folder.path()));
  CHECK(!second.load_last_good().accepted);
  CHECK(second.acquire() == nullptr);
}

TEST_CASE("a rollback stays until the learner is followed again") {
  const TemporaryFolder folder;
  PolicyManager manager(golden_contract(), options(folder.path()));
  REQUIRE(manager.offer(GoldenPolicy("version_1", 1).offer()).accepted);
  REQUIRE(manager.offer(GoldenPolicy("version_2", 2).offer()).accepted);
  CHECK(contains(manager.rollback(7).reason, "stored: 2, 1"));
  const PolicyVerdict verdict = manager.rollback(0);
  CHECK(verdict.accepted);
  CHECK(verdict.version == 1);
  CHECK(manager.acquire()->version() == 1);
  CHECK(manager.status().pinned);
  CHECK(contains(manager.offer(GoldenPolicy("version_3", 3).offer()).reason, "rollback"));
  CHECK(manager.acquire()->version() == 1);
  CHECK(files_in(folder.path()).size() == 2);  // the same policy is not stored twice
  CHECK(PolicyManager(golden_contract(), options(folder.path())).load_last_good().version == 1);
  manager.follow_learner();
  CHECK(manager.offer(GoldenPolicy("version_3", 3).offer()).accepted);
  CHECK(manager.rollback(2).accepted);
  CHECK(manager.acquire()->version() == 2);
}

TEST_CASE("a policy file is loaded whatever its version, and refused with a reason") {
  PolicyManager manager(golden_contract(), options());
  GoldenPolicy ignored("version_1");  // tells where ONNX Runtime is
  CHECK(manager.load_file(test::golden("version_3.onnx")).accepted);
  CHECK(manager.load_file(test::golden("version_1.onnx")).version == 1);
  CHECK(contains(manager.load_file(test::golden("none.onnx")).reason, "none.onnx"));
  CHECK(contains(manager.load_file(test::golden("no_metadata.onnx")).reason, "version"));
  CHECK(manager.acquire()->version() == 1);
}

TEST_CASE("the store keeps the last ones, each once") {
  const TemporaryFolder folder;
  PolicyStore store(folder.path() / "new" / "folder", 3);
  const auto save = [&store](std::uint64_t version) {
    const std::string text = "policy " + std::to_string(version);
    store.save(std::as_bytes(std::span(text)), version, sha256_hex(text));
  };
  const auto versions = [&store] {
    std::vector<std::uint64_t> found;
    for (const auto& entry : store.entries()) found.push_back(entry.version);
    return found;
  };
  for (std::uint64_t version = 1; version <= 12; ++version) save(version);
  CHECK(versions() == std::vector<std::uint64_t>{12, 11, 10});
  save(10);
  CHECK(versions() == std::vector<std::uint64_t>{10, 12, 11});
  save(3);  // of a new learner
  CHECK(versions() == std::vector<std::uint64_t>{3, 10, 12});
  const auto bytes = store.load(store.entries()[0]);
  CHECK(sha256_hex(bytes) == sha256_hex("policy 3"));
  CHECK_THROWS_AS(PolicyStore("/proc/none/policies", 3), Error);
}

TEST_CASE("swaps between two threads lose and mix nothing") {
  constexpr int kSwaps = 40;
  PolicyManager manager(golden_contract(), options());
  const GoldenPolicy one("version_1", 1), two("version_2", 2);
  REQUIRE(manager.offer(one.offer()).accepted);
  const auto action_1 = act(manager.acquire());
  std::atomic<bool> done = false;
  std::atomic<int> wrong = 0;
  std::thread policy_thread([&] {
    const std::array<float, 7> observation = {0.4F, 0.1F, 0.2F, 1.0F, 0.5F, 0.0F, 0.3F};
    const std::array<float, 4> noise = {};
    std::array<float, 4> action{};
    while (!done.load()) {
      const Policy* policy = manager.acquire();
      if (!policy->session().run({observation, noise, {}}, action)) ++wrong;
      if ((policy->version() == 1) != (action == action_1)) ++wrong;
    }
  });
  for (int i = 0; i < kSwaps; ++i) {
    manager.new_learner();
    const PolicyVerdict verdict = manager.offer((i % 2 == 0 ? two : one).offer());
    if (!verdict.accepted) ++wrong;
    manager.collect();
  }
  done = true;
  policy_thread.join();
  CHECK(wrong == 0);
  CHECK(manager.acquire()->version() == 1);
  CHECK(manager.status().active_version == 1);
}
