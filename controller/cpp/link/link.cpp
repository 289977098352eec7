#include "link/link.hpp"

#include <sys/random.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "link/transition_queue.hpp"
#include "link/wire.hpp"

namespace serl_rt {
namespace {

using Clock = Outbox::Clock;
using std::chrono::milliseconds;

constexpr milliseconds kHelloPause{250};
constexpr milliseconds kRefusedPause{3000};
constexpr std::size_t kMaxFrameBytes = wire::kMaxPolicyBytes;

std::string random_run_id() {
  std::array<unsigned char, 16> bytes;
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw Error("the operating system gave no random bytes for a run id");
  }
  constexpr char kDigits[] = "0123456789abcdef";
  std::string id;
  for (const unsigned char byte : bytes) {
    id += kDigits[byte >> 4U];
    id += kDigits[byte & 15U];
  }
  return id;
}

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

}  // namespace

class Link::Impl {
 public:
  Impl(std::shared_ptr<Messaging> messaging, LinkConfig config, TransitionLayout layout,
       PolicyHandler on_policy)
      : messaging_(std::move(messaging)),
        config_(std::move(config)),
        layout_(std::move(layout)),
        run_id_(random_run_id()),
        queue_(layout_),
        outbox_(layout_, config_.outbox),
        intake_(config_.contract_id, std::move(on_policy), wake_),
        socket_(connected_socket()) {
    stats_.run_id = run_id_;
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    stopping_.store(true);
    wake_.signal();
    thread_.join();
  }

  // ---- policy thread ----

  bool push(const Transition& transition, const StepImages& images) noexcept {
    return queue_.push(transition, images);
  }

  // Waits for `ready`, which reads only atomics, while the link's thread sends without lingering.
  template <class Ready>
  bool wait_until(milliseconds timeout, const Ready& ready) {
    const auto done = [&] { return failed_.load() || ready(); };
    if (!done()) {
      waiting_.store(true);
      wake_.signal();
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, timeout, done);
      waiting_.store(false);
    }
    if (failed_.load()) throw Error("the link to the learner ended: " + stats().failure);
    return ready();
  }

  bool may_produce(std::uint64_t produced) const noexcept {
    return credit_.load() > produced && queue_.has_room();
  }

  bool all_acknowledged() const noexcept { return acknowledged_.load() >= queue_.pushed(); }

  // ---- any thread ----

  LinkStats stats() const {
    LinkStats stats;
    {
      const std::lock_guard lock(mutex_);
      stats = stats_;
    }
    stats.pushed = queue_.pushed();
    stats.not_taken = queue_.refused();
    stats.acknowledged = acknowledged_.load();
    stats.credit = credit_.load();
    return stats;
  }

  const std::string& run_id() const noexcept { return run_id_; }

 private:
  enum class Session { kHello, kReady, kRefused };

  // ---- the link's thread ----

  void run() {
    try {
      while (!stopping_.load()) {
        step(Clock::now());
        socket_.wait(session_ == Session::kReady ? config_.outbox.linger : milliseconds{20}, wake_);
      }
    } catch (const std::exception& error) {
      const std::lock_guard lock(mutex_);
      stats_.connected = false;
      stats_.failure = error.what();
      failed_.store(true);
    }
    changed_.notify_all();
  }

  void step(Clock::time_point now) {
    take_pushed(now);
    while (std::optional<Received> message = socket_.receive()) {
      heard_at_ = now;
      handle(std::move(*message), now);
    }
    keep_session(now);
    if (session_ == Session::kReady) {
      send_transitions(now);
      serve_policies(now);
    }
    report();
  }

  // Numbers what the policy thread pushed. A full spool leaves the rest in the ring, and then
  // push() is refused: nothing that was taken is lost.
  void take_pushed(Clock::time_point now) {
    const auto take = [&](const Transition& transition, const StepImages& images) {
      outbox_.push(transition, now, images);
    };
    while (!outbox_.spool().full() && queue_.pop(take)) continue;
  }

  void handle(Received message, Clock::time_point now) {
    try {
      const wire::LearnerMessage decoded = wire::decode_learner_message(message.frames());
      std::visit(Overloaded{[&](const wire::Welcome& m) { on_welcome(m, now); },
                            [&](const wire::Ack& m) { on_ack(m, now); },
                            [&](const wire::PolicyOffer& m) { intake_.offer(m); },
                            [&](const wire::Policy& m) { intake_.receive(m, std::move(message)); },
                            [&](const wire::HelloRequired&) { say_hello_again(); },
                            [&](const wire::Refused& m) { on_refused(m.reason, now); }},
                 decoded);
    } catch (const WireError&) {
      const std::lock_guard lock(mutex_);
      ++stats_.malformed;
    }
  }

  void on_welcome(const wire::Welcome& welcome, Clock::time_point now) {
    if (welcome.run_id != run_id_) return;
    if (welcome.protocol != wire::kProtocol) {
      on_refused("the learner speaks protocol " + std::to_string(welcome.protocol) +
                     ", this controller " + std::to_string(wire::kProtocol),
                 now);
      return;
    }
    try {
      outbox_.restart(welcome.next_seq, now);
    } catch (const WireError& error) {
      on_refused(std::string("the learner and this run do not fit: ") + error.what(), now);
      return;
    }
    session_ = Session::kReady;
    intake_.welcome(welcome.learner_id);
    set_credit(welcome.credit);
    const std::lock_guard lock(mutex_);
    stats_.refusal.clear();
    ++stats_.welcomes;
  }

  void on_ack(const wire::Ack& ack, Clock::time_point now) {
    if (ack.run_id != run_id_ || session_ != Session::kReady) return;
    outbox_.acknowledge(ack.next_seq, ack.resend, now);
    set_credit(ack.credit);
  }

  void on_refused(const std::string& reason, Clock::time_point now) {
    session_ = Session::kRefused;
    hello_at_ = now;
    const std::lock_guard lock(mutex_);
    stats_.refusal = reason;
  }

  void say_hello_again() {
    session_ = Session::kHello;
    hello_at_.reset();
  }

  void set_credit(std::uint64_t credit) { credit_.store(credit); }

  // Hello until welcome, heartbeats afterwards, a new connection after a long silence.
  void keep_session(Clock::time_point now) {
    if (session_ == Session::kReady && now - heard_at_ > config_.learner_timeout) {
      socket_ = connected_socket();
      say_hello_again();
    }
    if (session_ == Session::kReady) {
      if (now - heartbeat_at_ >= config_.heartbeat &&
          send(wire::encode(wire::Heartbeat{run_id_}))) {
        heartbeat_at_ = now;
      }
      return;
    }
    const milliseconds pause = session_ == Session::kRefused ? kRefusedPause : kHelloPause;
    if (hello_at_ && now - *hello_at_ < pause) return;
    const wire::Hello hello{wire::kProtocol,
                            run_id_,
                            config_.contract_id,
                            config_.task,
                            config_.lockstep ? "lockstep" : "realtime",
                            outbox_.acknowledged()};
    if (send(wire::encode(hello))) hello_at_ = heard_at_ = now;
  }

  void send_transitions(Clock::time_point now) {
    while (const auto batch = outbox_.next(waiting_.load(), now)) {
      outbox_.pack(*batch, columns_);
      const wire::Transitions message{
          run_id_, batch->first_seq, batch->count, layout_.columns(), {}};
      const Bytes header = wire::encode(message);
      frames_.assign(1, header);
      frames_.insert(frames_.end(), columns_.frames().begin(), columns_.frames().end());
      if (!socket_.send(frames_)) return;
      outbox_.sent(*batch, now);
      const std::lock_guard lock(mutex_);
      stats_.sent += batch->count;
      if (batch->again) stats_.resent += batch->count;
    }
  }

  void serve_policies(Clock::time_point now) {
    if (const auto request = intake_.next_request(now)) send(wire::encode(*request));
    while (const auto result = intake_.take_result()) send(wire::encode(*result));
  }

  bool send(const Bytes& header) {
    const BytesView frame(header);
    return socket_.send({&frame, 1});
  }

  // Makes visible what changed and wakes the policy thread if it waits.
  void report() {
    acknowledged_.store(outbox_.acknowledged());
    const bool waiting = waiting_.load();
    {
      const std::lock_guard lock(mutex_);
      stats_.connected = session_ == Session::kReady;
      stats_.policies = intake_.counts();
    }
    if (waiting) changed_.notify_all();
  }

  Socket connected_socket() const {
    Socket socket(messaging_, Socket::Kind::kDealer, kMaxFrameBytes);
    socket.connect(config_.endpoint, "learner");
    return socket;
  }

  const std::shared_ptr<Messaging> messaging_;
  const LinkConfig config_;
  const TransitionLayout layout_;
  const std::string run_id_;

  // between the policy thread and the link's
  TransitionQueue queue_;
  std::atomic<std::uint64_t> acknowledged_ = 0;
  std::atomic<std::uint64_t> credit_ = 0;
  std::atomic<bool> waiting_ = false;  // the policy thread waits: do not linger
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> failed_ = false;
  mutable std::mutex mutex_;  // stats_, and for changed_
  std::condition_variable changed_;
  LinkStats stats_;  // what is not an atomic above

  // the link's thread
  WakeUp wake_;
  Outbox outbox_;
  PolicyIntake intake_;
  Socket socket_;
  Session session_ = Session::kHello;
  std::optional<Clock::time_point> hello_at_;
  Clock::time_point heard_at_ = Clock::now();
  Clock::time_point heartbeat_at_{};
  PackedColumns columns_;
  std::vector<BytesView> frames_;
  std::thread thread_;
};

Link::Link(std::shared_ptr<Messaging> messaging, LinkConfig config, TransitionLayout layout,
           PolicyHandler on_policy)
    : impl_(std::make_unique<Impl>(std::move(messaging), std::move(config), std::move(layout),
                                   std::move(on_policy))) {}

Link::~Link() = default;

bool Link::push(const Transition& transition, const StepImages& images) noexcept {
  return impl_->push(transition, images);
}

bool Link::wait_for_credit(std::uint64_t produced, milliseconds timeout) {
  return impl_->wait_until(timeout, [&] { return impl_->may_produce(produced); });
}

bool Link::drain(milliseconds timeout) {
  return impl_->wait_until(timeout, [&] { return impl_->all_acknowledged(); });
}

LinkStats Link::stats() const { return impl_->stats(); }

const std::string& Link::run_id() const noexcept { return impl_->run_id(); }

}  // namespace serl_rt
