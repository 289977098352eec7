// The link against a learner: policies, with and without their trunk.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "fake_learner.hpp"
#include "link/policy_trunk.hpp"

using namespace serl_rt;
using namespace serl_rt::test;

namespace {

wire::PolicyOffer offer_of(const Bytes& policy, std::string contract_id) {
  return {7, policy.size(), std::string(64, 'a'), std::move(contract_id)};
}

// Why a controller refuses this learner's policy, which it must without having it judged.
std::string refused_unjudged(const FakeLearner::Config& config) {
  FakeLearner learner(config);
  std::atomic<int> judged = 0;
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(),
            [&](const ReceivedPolicy& policy) {
              ++judged;
              return accept(policy);
            });
  REQUIRE(eventually([&] { return !learner.results().empty(); }));
  CHECK_FALSE(learner.results()[0].accepted);
  CHECK(judged == 0);
  return learner.results()[0].reason;
}

}  // namespace

TEST_CASE("a policy is fetched, judged and answered") {
  FakeLearner::Config config;
  config.policy = to_bytes(std::string(1'000'000, 'p'));
  config.offer = offer_of(config.policy, kContractId);
  FakeLearner learner(config);
  std::atomic<bool> intact = false;
  std::atomic<bool> new_learner = false;
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(),
            [&](const ReceivedPolicy& policy) -> PolicyOutcome {
              intact = policy.version == 7 && to_bytes(policy.data) == config.policy &&
                       policy.sha256 == config.offer->sha256;
              new_learner = policy.new_learner;
              return {true, "", 2.5};
            });
  REQUIRE(eventually([&] { return !learner.results().empty(); }));
  CHECK(intact);
  CHECK(new_learner);
  CHECK(learner.results()[0].version == 7);
  CHECK(learner.results()[0].accepted);
  CHECK(learner.results()[0].swap_ms == 2.5);
  CHECK(eventually([&] { return link.stats().policies.accepted == 1; }));
  CHECK(link.stats().policies.offered == 1);
}

TEST_CASE("once a policy was accepted, the next ones come without its trunk") {
  const auto file = [](char trunk, char rest) {
    return to_bytes(std::string(9000, trunk) + std::string(1000, rest));
  };
  FakeLearner::Config config;
  config.policy = file('t', '1');
  config.trunk_size = 9000;
  config.offer = offer_of(config.policy, kContractId);
  config.offer->sha256 = sha256_hex(config.policy);
  FakeLearner learner(config);
  std::vector<std::string> received;
  std::mutex mutex;
  const auto handler = [&](const ReceivedPolicy& policy) -> PolicyOutcome {
    const std::lock_guard lock(mutex);
    received.push_back(sha256_hex(policy.data));
    CHECK(received.back() == policy.sha256);
    return {policy.version != 8, "bad", 0.0};
  };
  auto link = std::make_unique<Link>(Messaging::create(), config_for(learner.endpoint()), layout(),
                                     handler);
  const auto answered = [&](std::size_t count) {
    return eventually([&] { return learner.results().size() == count; });
  };
  REQUIRE(answered(1));
  learner.publish(8, file('t', '2'));  // refused: the trunk stays
  REQUIRE(answered(2));
  learner.publish(9, file('t', '3'));
  REQUIRE(answered(3));
  learner.publish(10, file('u', '3'));  // another trunk comes whole, once
  REQUIRE(answered(4));
  learner.publish(11, file('u', '4'));
  REQUIRE(answered(5));
  CHECK(learner.policy_bytes() == std::vector<std::size_t>{10000, 1000, 1000, 10000, 1000});
  const std::lock_guard lock(mutex);
  CHECK(received == std::vector<std::string>{sha256_hex(file('t', '1')), sha256_hex(file('t', '2')),
                                             sha256_hex(file('t', '3')), sha256_hex(file('u', '3')),
                                             sha256_hex(file('u', '4'))});
}

TEST_CASE("a controller that was restarted gets the trunk again") {
  FakeLearner::Config config;
  config.policy = to_bytes(std::string(100, 'p'));
  config.trunk_size = 90;
  config.offer = offer_of(config.policy, kContractId);
  FakeLearner learner(config);
  for (std::size_t start = 1; start <= 2; ++start) {
    Link link(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
    REQUIRE(eventually([&] { return learner.results().size() == start; }));
  }
  CHECK(learner.policy_bytes() == std::vector<std::size_t>{100, 100});
}

TEST_CASE("a policy without a trunk that is not held is refused by name") {
  FakeLearner::Config config;
  config.policy = to_bytes(std::string(100, 'p'));
  config.trunk_size = 90;
  config.keep_trunk = true;
  config.offer = offer_of(config.policy, kContractId);
  const std::string reason = refused_unjudged(config);
  CHECK(reason.find("came without its trunk") != std::string::npos);
  CHECK(reason.find("holds none") != std::string::npos);
}

TEST_CASE("a trunk that is not the announced one is refused, and what is held stays") {
  const Bytes file = to_bytes(std::string("trunkrest"));
  const std::string sha256 = sha256_hex(BytesView(file).first(5));
  const wire::Policy whole{1, 9, sha256_hex(file), file, 5, sha256};
  wire::Policy damaged = whole;
  damaged.trunk_sha256 = std::string(64, '0');
  PolicyTrunk trunk;
  Bytes storage;
  CHECK_THROWS_WITH_AS(trunk.file_of(damaged, storage), doctest::Contains("damaged"), Error);
  trunk.keep(whole, trunk.file_of(whole, storage));
  CHECK(trunk.sha256() == sha256);

  wire::Policy rest = whole;
  rest.data = BytesView(file).subspan(5);
  CHECK(to_bytes(trunk.file_of(rest, storage)) == file);
  rest.trunk_size = 4;
  CHECK_THROWS_WITH_AS(trunk.file_of(rest, storage), doctest::Contains("of 4 bytes"), Error);
  rest.trunk_size = 5;
  rest.trunk_sha256 = std::string(64, '0');
  CHECK_THROWS_WITH_AS(trunk.file_of(rest, storage), doctest::Contains(sha256.c_str()), Error);
  CHECK(trunk.sha256() == sha256);
}

TEST_CASE("transitions are acknowledged while a policy is being judged") {
  FakeLearner::Config config;
  config.policy = to_bytes(std::string(100, 'p'));
  config.offer = offer_of(config.policy, kContractId);
  FakeLearner learner(config);
  std::atomic<bool> judging = false;
  std::atomic<bool> finish = false;
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(),
            [&](const ReceivedPolicy&) -> PolicyOutcome {
              judging = true;
              eventually([&] { return finish.load(); });
              return {true, "", 0.0};
            });
  REQUIRE(eventually([&] { return judging.load(); }));
  push_numbers(link, 0, 200);
  CHECK(link.drain(kPatience));
  CHECK(link.stats().policies.accepted == 0);
  finish = true;
  CHECK(eventually([&] { return link.stats().policies.accepted == 1; }));
}

TEST_CASE("a policy whose handler throws is refused with the reason") {
  FakeLearner::Config config;
  config.policy = to_bytes(std::string(100, 'p'));
  config.offer = offer_of(config.policy, kContractId);
  FakeLearner learner(config);
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(),
            [](const ReceivedPolicy&) -> PolicyOutcome { throw Error("wrong hash \xff"); });
  REQUIRE(eventually([&] { return !learner.results().empty(); }));
  CHECK_FALSE(learner.results()[0].accepted);
  CHECK(learner.results()[0].reason == "wrong hash ?");
}

TEST_CASE("a policy for another contract is refused without fetching it") {
  FakeLearner::Config config;
  config.policy = to_bytes(std::string(100, 'p'));
  config.offer = offer_of(config.policy, std::string(64, 'd'));
  const std::string reason = refused_unjudged(config);
  CHECK(reason.find("is for contract dddd") != std::string::npos);
}

TEST_CASE("a restarted learner gets the old verdict, another learner a new one") {
  FakeLearner::Config config;
  config.policy = to_bytes(std::string(100, 'p'));
  config.offer = offer_of(config.policy, kContractId);
  auto learner = std::make_unique<FakeLearner>(config);
  config.endpoint = learner->endpoint();
  std::atomic<int> judged = 0;
  std::atomic<int> new_learners = 0;
  Link link(Messaging::create(), config_for(config.endpoint), layout(),
            [&](const ReceivedPolicy& policy) {
              ++judged;
              new_learners += policy.new_learner ? 1 : 0;
              return accept(policy);
            });
  REQUIRE(eventually([&] { return !learner->results().empty(); }));

  learner.reset();
  learner = std::make_unique<FakeLearner>(config);
  REQUIRE(eventually([&] { return !learner->results().empty(); }));
  CHECK(judged == 1);

  learner.reset();
  config.learner_id = std::string(32, '2');
  learner = std::make_unique<FakeLearner>(config);
  REQUIRE(eventually([&] { return !learner->results().empty(); }));
  CHECK(judged == 2);
  CHECK(new_learners == 2);
}
