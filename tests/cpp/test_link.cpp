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
#include "link/state_publisher.hpp"

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
      if (told != credit_ && !peer_.empty()) {
        told = credit_;
        acknowledge(false);
      }
      socket_.wait(milliseconds(10), wake_);
    }
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
    } else if (std::get_if<wire::PolicyRequest>(&decoded) != nullptr) {
      const Bytes header = wire::encode(wire::Policy{config_.offer->version, config_.policy.size(),
                                                     config_.offer->sha256, config_.policy});
      const std::array<BytesView, 3> reply = {peer_, header, config_.policy};
      socket_.send(reply);
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
