// A learner in this process that can lose messages, refuse, disappear and come back.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "golden_wire.hpp"
#include "link/link.hpp"
#include "link/wire.hpp"
#include "policy/sha256.hpp"

namespace serl_rt::test {

using std::chrono::milliseconds;

inline constexpr milliseconds kPatience{20'000};
inline const std::string kContractId(64, 'c');
inline const std::string kLearnerId(32, '1');

inline TransitionLayout layout() { return {{{"x", {3}}}, 2}; }

inline Transition numbered(std::uint64_t number) {
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

inline LinkConfig config_for(const std::string& endpoint) {
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

inline PolicyOutcome accept(const ReceivedPolicy&) { return {true, "", 1.0}; }

inline void push_numbers(Link& link, std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t i = from; i < to; ++i) {
    while (!link.push(numbered(i))) std::this_thread::yield();
  }
}

inline void check_complete(const std::vector<std::int64_t>& numbers, std::size_t count) {
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

}  // namespace serl_rt::test
