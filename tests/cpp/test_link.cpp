// The link against a learner in this process that loses messages, disappears and comes back; the
// command and state sockets; keys.
#include "link/link.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>

#include "golden_wire.hpp"
#include "link/command_server.hpp"
#include "link/keys.hpp"
#include "link/policy_trunk.hpp"
#include "link/state_publisher.hpp"
#include "policy/sha256.hpp"

using namespace serl_rt;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kPatience{20'000};
const std::string kContractId(64, 'c');
const std::string kLearnerId(32, '1');

TransitionLayout layout() { return {{{"x", {3}}}, 2}; }

Transition numbered(std::uint64_t number) {
  Transition t;
  t.observation[0] = static_cast<float>(number % 1000);
  t.time_ns = static_cast<std::int64_t>(number);
  return t;
}

// A learner that keeps the numbers of what it stores. Its thread owns the socket.
class FakeLearner {
 public:
  struct Config {
    std::string endpoint = "tcp://127.0.0.1:*";
    double lose_up = 0.0;
    double lose_down = 0.0;
    std::uint64_t credit = 0;
    std::string refuse;  // reason
    unsigned seed = 1;
    std::optional<wire::PolicyOffer> offer;
    Bytes policy;
    std::size_t trunk_size = 0;         // of the policy
    bool keep_trunk = false;            // sends what follows it, whoever asks
    std::uint64_t ask_hello_every = 0;  // messages
    std::string learner_id = kLearnerId;
  };

  explicit FakeLearner(Config config, std::map<std::string, std::vector<std::int64_t>> stored = {})
      : config_(std::move(config)),
        stored_(std::move(stored)),
        random_(config_.seed),
        socket_(Messaging::create(), Socket::Kind::kRouter, std::size_t{1} << 26) {
    socket_.bind(config_.endpoint);
    endpoint_ = socket_.endpoint();
    thread_ = std::thread([this] { run(); });
  }

  ~FakeLearner() {
    if (thread_.joinable()) stop();
  }

  // What it has stored, per run.
  std::map<std::string, std::vector<std::int64_t>> stop() {
    stopping_ = true;
    wake_.signal();
    thread_.join();
    return stored_;
  }

  const std::string& endpoint() const { return endpoint_; }
  void set_credit(std::uint64_t credit) {
    credit_ = credit;
    wake_.signal();
  }
  std::vector<wire::PolicyResult> results() {
    const std::lock_guard lock(mutex_);
    return results_;
  }
  int hellos() const { return hellos_; }
  // Bytes of each policy message.
  std::vector<std::size_t> policy_bytes() {
    const std::lock_guard lock(mutex_);
    return policy_bytes_;
  }
  void publish(std::uint64_t version, Bytes policy) {
    {
      const std::lock_guard lock(mutex_);
      published_ = {version, std::move(policy)};
    }
    wake_.signal();
  }

 private:
  void run() {
    credit_ = config_.credit;
    std::uint64_t told = credit_;
    while (!stopping_) {
      while (const auto message = socket_.receive()) {
        if (config_.ask_hello_every != 0 && ++messages_ % config_.ask_hello_every == 0) {
          send(message->frames()[0], wire::encode(wire::HelloRequired{}));
        } else if (!chance(config_.lose_up)) {
          handle(*message);
        }
      }
      offer_published();
      if (told != credit_ && !peer_.empty()) {
        told = credit_;
        acknowledge(false);
      }
      socket_.wait(milliseconds(10), wake_);
    }
  }

  void offer_published() {
    const std::lock_guard lock(mutex_);
    if (!published_) return;
    config_.policy = std::move(published_->second);
    config_.offer = wire::PolicyOffer{published_->first, config_.policy.size(),
                                      sha256_hex(config_.policy), config_.offer->contract_id};
    published_.reset();
    answer(wire::encode(*config_.offer));
  }

  void send_policy(const wire::PolicyRequest& request) {
    const BytesView whole(config_.policy);
    wire::Policy policy{config_.offer->version, whole.size(), config_.offer->sha256, whole, 0, ""};
    if (config_.trunk_size > 0) {
      policy.trunk_size = config_.trunk_size;
      policy.trunk_sha256 = sha256_hex(whole.first(config_.trunk_size));
      if (config_.keep_trunk || request.trunk_sha256 == policy.trunk_sha256) {
        policy.data = whole.subspan(config_.trunk_size);
      }
    }
    const Bytes header = wire::encode(policy);
    const std::array<BytesView, 3> reply = {peer_, header, policy.data};
    socket_.send(reply);
    const std::lock_guard lock(mutex_);
    policy_bytes_.push_back(policy.data.size());
  }

  bool chance(double p) { return random_() < p * static_cast<double>(UINT32_MAX); }

  void handle(const Received& message) {
    const std::vector<BytesView>& frames = message.frames();
    const auto decoded = wire::decode_controller_message({frames.begin() + 1, frames.end()});
    if (const auto* hello = std::get_if<wire::Hello>(&decoded)) {
      ++hellos_;
      peer_ = to_bytes(frames[0]);
      run_id_ = hello->run_id;
      if (!config_.refuse.empty()) {
        send(peer_, wire::encode(wire::Refused{config_.refuse}));
        return;
      }
      answer(wire::encode(wire::Welcome{wire::kProtocol, config_.learner_id, run_id_,
                                        stored_[run_id_].size(), credit_}));
      if (config_.offer) answer(wire::encode(*config_.offer));
    } else if (!std::ranges::equal(frames[0], peer_)) {
      send(frames[0], wire::encode(wire::HelloRequired{}));
    } else if (const auto* transitions = std::get_if<wire::Transitions>(&decoded)) {
      acknowledge(!store(*transitions));
    } else if (std::get_if<wire::Heartbeat>(&decoded) != nullptr) {
      acknowledge(false);
    } else if (const auto* request = std::get_if<wire::PolicyRequest>(&decoded)) {
      send_policy(*request);
    } else if (const auto* result = std::get_if<wire::PolicyResult>(&decoded)) {
      const std::lock_guard lock(mutex_);
      results_.push_back(*result);
    }
  }

  bool store(const wire::Transitions& message) {
    std::vector<std::int64_t>& stored = stored_[message.run_id];
    if (message.first_seq > stored.size()) return false;
    std::vector<std::int64_t> numbers(message.count);
    std::memcpy(numbers.data(), message.arrays.back().data(), message.arrays.back().size());
    for (std::size_t i = stored.size() - message.first_seq; i < numbers.size(); ++i) {
      stored.push_back(numbers[i]);
    }
    return true;
  }

  void acknowledge(bool resend) {
    answer(wire::encode(wire::Ack{run_id_, stored_[run_id_].size(), credit_, resend}));
  }

  void answer(const Bytes& header) {
    if (!chance(config_.lose_down)) send(peer_, header);
  }

  void send(BytesView peer, const Bytes& header) {
    const std::array<BytesView, 2> frames = {peer, header};
    socket_.send(frames);
  }

  Config config_;
  std::map<std::string, std::vector<std::int64_t>> stored_;
  std::mt19937 random_;
  Socket socket_;
  WakeUp wake_;
  std::string endpoint_;
  Bytes peer_;
  std::string run_id_;
  std::uint64_t messages_ = 0;
  std::atomic<int> hellos_ = 0;
  std::atomic<std::uint64_t> credit_ = 0;
  std::mutex mutex_;
  std::vector<wire::PolicyResult> results_;
  std::vector<std::size_t> policy_bytes_;
  std::optional<std::pair<std::uint64_t, Bytes>> published_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

LinkConfig config_for(const std::string& endpoint) {
  LinkConfig config;
  config.endpoint = endpoint;
  config.contract_id = kContractId;
  config.task = "test";
  config.outbox.batch = 16;
  config.outbox.resend_after = milliseconds(20);
  config.outbox.resend_at_most = milliseconds(50);
  config.heartbeat = milliseconds(20);
  return config;
}

PolicyOutcome accept(const ReceivedPolicy&) { return {true, "", 1.0}; }

void push_numbers(Link& link, std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t i = from; i < to; ++i) {
    while (!link.push(numbered(i))) std::this_thread::yield();
  }
}

void check_complete(const std::vector<std::int64_t>& numbers, std::size_t count) {
  REQUIRE(numbers.size() == count);
  for (std::size_t i = 0; i < count; ++i) REQUIRE(numbers[i] == static_cast<std::int64_t>(i));
}

template <class Condition>
bool eventually(const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

wire::PolicyOffer offer_of(const Bytes& policy, std::string contract_id) {
  return {7, policy.size(), std::string(64, 'a'), std::move(contract_id)};
}

std::filesystem::path make_folder(const std::string& name) {
  const auto folder = std::filesystem::temp_directory_path() /
                      ("serl_rt_test_link_" + std::to_string(::getpid())) / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

}  // namespace

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
  FakeLearner learner(config);
  std::atomic<int> judged = 0;
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(),
            [&](const ReceivedPolicy& policy) {
              ++judged;
              return accept(policy);
            });
  REQUIRE(eventually([&] { return !learner.results().empty(); }));
  CHECK_FALSE(learner.results()[0].accepted);
  CHECK(learner.results()[0].reason.find("came without its trunk") != std::string::npos);
  CHECK(learner.results()[0].reason.find("holds none") != std::string::npos);
  CHECK(judged == 0);
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
  FakeLearner learner(config);
  std::atomic<int> judged = 0;
  Link link(Messaging::create(), config_for(learner.endpoint()), layout(),
            [&](const ReceivedPolicy& policy) {
              ++judged;
              return accept(policy);
            });
  REQUIRE(eventually([&] { return !learner.results().empty(); }));
  CHECK_FALSE(learner.results()[0].accepted);
  CHECK(learner.results()[0].reason.find("is for contract dddd") != std::string::npos);
  CHECK(judged == 0);
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

TEST_CASE("run ids are new each time") {
  FakeLearner learner({});
  const Link a(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
  const Link b(Messaging::create(), config_for(learner.endpoint()), layout(), accept);
  CHECK(a.run_id().size() == 32);
  CHECK(a.run_id() != b.run_id());
}

TEST_CASE("addresses that others can reach need keys") {
  CHECK(is_local("tcp://127.0.0.1:5588"));
  CHECK(is_local("tcp://[::1]:5588"));
  CHECK(is_local("ipc:///tmp/socket"));
  for (const char* endpoint : {"tcp://*:5588", "tcp://0.0.0.0:5588", "tcp://192.168.1.2:5588",
                               "tcp://127.0.0.1.example.org:5588", "tcp://eth0:5588", ""}) {
    CAPTURE(endpoint);
    CHECK_FALSE(is_local(endpoint));
    CHECK_THROWS_WITH_AS(CommandServer(Messaging::create(), endpoint, {}),
                         doctest::Contains("there are no keys"), Error);
    CHECK_THROWS_WITH_AS(Link(Messaging::create(), config_for(endpoint), layout(), accept),
                         doctest::Contains("there are no keys"), Error);
  }
  CHECK_THROWS_WITH_AS(CommandServer(Messaging::create(), "tcp://127.0.0.1:port", {}),
                       doctest::Contains("cannot listen"), Error);
}

TEST_CASE("key folders are checked") {
  const auto folder = make_folder("keys");
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("cannot read"), Error);
  const auto own = folder / "own.key_secret";
  std::ofstream(own) << "curve\n    public-key = \"too short\"\n";
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("has no line: public-key"), Error);
  const std::string key = "0123456789012345678901234567890123456789";
  std::ofstream(own) << "    public-key = \"" << key << "\"\n    secret-key = \"" << key << "\"\n";
  ::chmod(own.c_str(), 0644);
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("chmod 600"), Error);
  ::chmod(own.c_str(), 0600);
  CHECK_THROWS_WITH_AS(load_keys(folder), doctest::Contains("nobody could connect"), Error);
  std::filesystem::create_directories(folder / "trusted");
  std::ofstream(folder / "trusted/learner.key") << "    public-key = \"" << key << "\"\n";
  const Keys keys = load_keys(folder);
  CHECK(keys.trusted_key("learner") == key);
  CHECK_THROWS_WITH_AS(keys.trusted_key("operator"), doctest::Contains("there are: learner"),
                       Error);
  std::filesystem::remove_all(folder.parent_path());
}

TEST_CASE("command arguments are checked against their parameters") {
  const std::vector<Parameter> parameters = {
      Parameter::number("speed", 0.0, 1.0), Parameter::integer("n", -5, 5).or_none(),
      Parameter::text("mode", {"hold", "joint"}).or_none(), Parameter::flag("wait").or_none(),
      Parameter::numbers("q", 2, -1.0, 1.0).or_none()};
  const auto error = [&](const Value::Map& args) -> std::string {
    try {
      const Arguments checked(parameters, args);
      return "";
    } catch (const WireError& caught) {
      return caught.what();
    }
  };
  CHECK(error({{"speed", 1}}) == "");
  CHECK(error({{"speed", 0.5},
               {"n", -5},
               {"mode", "hold"},
               {"wait", true},
               {"q", Value::List{0.5, -1}}}) == "");
  CHECK(error({}) == "an argument is missing: speed: number in [0, 1]");
  CHECK(error({{"speed", 1.01}}).find("is 1.01; expected speed: number in [0, 1]") !=
        std::string::npos);
  CHECK(error({{"speed", std::nan("")}}).find("expected speed") != std::string::npos);
  CHECK(error({{"speed", "fast"}}).find("is \"fast\"") != std::string::npos);
  CHECK(error({{"speed", true}}).find("is true") != std::string::npos);
  CHECK(error({{"speed", 0}, {"n", 1.5}}).find("integer in [-5, 5]") != std::string::npos);
  CHECK(error({{"speed", 0}, {"n", 6}}).find("is 6") != std::string::npos);
  CHECK(error({{"speed", 0}, {"mode", "fly"}}).find("hold or joint") != std::string::npos);
  CHECK(error({{"speed", 0}, {"q", Value::List{0.0}}}).find("a list of 1") != std::string::npos);
  CHECK(error({{"speed", 0}, {"q", Value::List{0.0, 2.0}}}).find("2 numbers in [-1, 1]") !=
        std::string::npos);
  CHECK(error({{"speed", 0}, {"typo", 1}}).find("unknown argument typo") != std::string::npos);
}

TEST_CASE("commands are answered, and hostile messages do not stop that") {
  const auto messaging = Messaging::create();
  const CommandServer server(
      messaging, "tcp://127.0.0.1:*",
      {{"double",
        "twice",
        {Parameter::integer("n", 0, 9)},
        [](const Arguments& args) -> Value { return 2 * args.integer("n"); }},
       {"big", "too large", {}, [](const Arguments&) -> Value {
          return Value::List(20, Value(std::string(4000, 'x')));
        }}});
  Socket socket(messaging, Socket::Kind::kDealer, std::size_t{1} << 20);
  socket.connect(server.endpoint(), "controller");
  WakeUp wake;
  const auto send = [&](const Bytes& frame) {
    const BytesView view(frame);
    REQUIRE(eventually([&] { return socket.send({&view, 1}); }));
  };
  const auto ask = [&](const wire::Command& command) {
    send(wire::encode(command));
    std::optional<Received> received;
    REQUIRE(eventually([&] {
      received = socket.receive();
      return received.has_value();
    }));
    return wire::decode_reply(received->frames());
  };
  send(to_bytes("nonsense"));
  send({});
  const wire::Reply doubled = ask({1, "double", {{"n", 4}}});
  CHECK(doubled.ok);
  CHECK(doubled.id == 1);
  CHECK(doubled.result == Value(8));
  CHECK(server.malformed() == 2);
  const wire::Reply unknown = ask({2, "jump", {}});
  CHECK_FALSE(unknown.ok);
  CHECK(unknown.error == "unknown command jump; there are: help, double, big");
  CHECK(ask({3, "double", {{"n", 10}}}).error ==
        "the argument n is 10; expected n: integer in [0, 9]");
  CHECK(ask({4, "big", {}}).error.find("at most 65536") != std::string::npos);
  const wire::Reply help = ask({5, "help", {}});
  CHECK(help.result.find("double")->find("summary")->text() != nullptr);
}
