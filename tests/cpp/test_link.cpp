// The link against a learner that loses messages, disappears and comes back: transitions.
#include "link/link.hpp"

#include <doctest/doctest.h>

#include <memory>

#include "fake_learner.hpp"

using namespace serl_rt;
using namespace serl_rt::test;

TEST_CASE("transitions arrive once and in order although messages and answers are lost") {
  for (const unsigned seed : {1U, 2U, 3U}) {
    CAPTURE(seed);
    FakeLearner::Config config;
    config.lose_up = 0.2;
    config.lose_down = 0.2;
    config.seed = seed;
    FakeLearner learner(config);
    Link link(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
    push_numbers(link, 0, 3000);
    CHECK(link.drain(kPatience));
    const LinkStats stats = link.stats();
    CHECK(stats.acknowledged == 3000);
    CHECK(stats.resent > 0);
    CHECK(stats.malformed == 0);
    check_complete(learner.stop()[link.run_id()], 3000);
  }
}

TEST_CASE("a learner that forgets connections is greeted again, and nothing is lost") {
  FakeLearner::Config config;
  config.ask_hello_every = 10;
  FakeLearner learner(config);
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
  push_numbers(link, 0, 2000);
  CHECK(link.drain(kPatience));
  CHECK(link.stats().welcomes > 1);
  check_complete(learner.stop()[link.run_id()], 2000);
}

TEST_CASE("a learner that comes late, goes and comes back gets everything once") {
  std::string endpoint;
  {
    FakeLearner first({});  // only to find a free port
    endpoint = first.endpoint();
  }
  Link link(Messaging::create(), config_for(endpoint), layout(), accept);
  push_numbers(link, 0, 500);
  CHECK_FALSE(link.stats().connected);

  FakeLearner::Config config;
  config.endpoint = endpoint;
  auto learner = std::make_unique<FakeLearner>(config);
  CHECK(link.drain(kPatience));
  auto stored = learner->stop();
  check_complete(stored[link.run_id()], 500);
  learner.reset();

  push_numbers(link, 500, 900);
  learner = std::make_unique<FakeLearner>(config, stored);
  CHECK(link.drain(kPatience));
  check_complete(learner->stop()[link.run_id()], 900);
}

TEST_CASE("lockstep produces what the learner allows, and no more") {
  FakeLearner::Config config;
  config.credit = 10;
  FakeLearner learner(config);
  LinkConfig lockstep = config_for(learner.endpoint());
  lockstep.lockstep = true;
  Link link(Messaging::create(), lockstep, layout(), accept);
  std::uint64_t produced = 0;
  const auto produce = [&](std::uint64_t until) {
    while (produced < until && link.wait_for_credit(produced, kPatience)) {
      REQUIRE(link.push(numbered(produced++)));
    }
  };
  produce(10);
  CHECK(produced == 10);
  CHECK_FALSE(link.wait_for_credit(produced, milliseconds(50)));
  learner.set_credit(5000);
  produce(5000);  // more than the ring holds: waiting for credit also waits for room
  CHECK(produced == 5000);
  CHECK(link.drain(kPatience));
  CHECK(link.stats().not_taken == 0);
  check_complete(learner.stop()[link.run_id()], 5000);
}

TEST_CASE("a full spool refuses new transitions, counts them and keeps the old") {
  FakeLearner first({});
  const std::string endpoint = first.endpoint();
  first.stop();  // the socket stays bound, but nobody answers
  LinkConfig config = config_for(endpoint);
  config.outbox.spool_bytes = 300 * layout().row_bytes();
  Link link(Messaging::create(), config, layout(), accept);
  std::uint64_t taken = 0;
  // The spool takes 300, the ring 1024 more.
  CHECK(eventually([&] {
    if (link.push(numbered(taken))) ++taken;
    return taken == 1324;
  }));
  const std::uint64_t before = link.stats().not_taken;
  CHECK_FALSE(link.push(numbered(taken)));
  CHECK(link.stats().not_taken == before + 1);
  CHECK(link.stats().pushed == 1324);
  CHECK_FALSE(link.drain(milliseconds(20)));
}

TEST_CASE("a refusal is reported with its reason") {
  FakeLearner::Config config;
  config.refuse = "another contract";
  FakeLearner learner(config);
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
  CHECK(eventually([&] { return link.stats().refusal == "another contract"; }));
  CHECK_FALSE(link.stats().connected);
}

TEST_CASE("run ids are new each time") {
  FakeLearner learner({});
  const Link a(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
  const Link b(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
  CHECK(a.run_id().size() == 32);
  CHECK(a.run_id() != b.run_id());
}
