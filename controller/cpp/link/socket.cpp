#include "link/socket.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <regex>
#include <set>
#include <thread>
#include <zmq.hpp>

#include "link/keys.hpp"

namespace serl_rt {
namespace {

// What the kernel may have in hand at once [bytes]: it takes a policy of megabytes from the network
// in one go otherwise, and on an ordinary kernel no thread runs on that core meanwhile.
constexpr int kReceiveBuffer = 128 * 1024;

constexpr const char* kZapEndpoint = "inproc://zeromq.zap.01";
constexpr const char* kZapDomain = "serl_rt";
constexpr std::size_t kKeyBytes = 32;

using PublicKey = std::array<unsigned char, kKeyBytes>;

PublicKey decode_key(const std::string& z85) {
  PublicKey key;
  if (zmq_z85_decode(key.data(), z85.c_str()) == nullptr) {
    throw Error("the key \"" + z85 + "\" is not Z85");
  }
  return key;
}

// Answers libzmq's question who may connect (ZeroMQ RFC 27) until the context is shut down.
class Gatekeeper {
 public:
  Gatekeeper(zmq::context_t& context, std::set<PublicKey> trusted)
      : trusted_(std::move(trusted)), socket_(context, zmq::socket_type::rep) {
    socket_.bind(kZapEndpoint);
    thread_ = std::thread([this] { run(); });
  }

  // The context must have been shut down, else this waits for ever.
  ~Gatekeeper() { thread_.join(); }

 private:
  void run() {
    try {
      while (true) answer();
    } catch (const zmq::error_t&) {
      socket_.close();  // the context ended
    }
  }

  void answer() {
    std::vector<zmq::message_t> request;
    do {
      zmq::message_t frame;
      if (!socket_.recv(frame, zmq::recv_flags::none)) return;
      request.push_back(std::move(frame));
    } while (request.back().more());
    // version, request id, domain, address, identity, mechanism, credentials
    const bool allowed =
        request.size() == 7 && request[5].to_string_view() == "CURVE" && is_trusted(request[6]);
    const std::string_view id = request.size() > 1 ? request[1].to_string_view() : "";
    const std::array<std::string_view, 6> reply = {
        "1.0", id, allowed ? "200" : "400", allowed ? "OK" : "key not trusted", "", ""};
    for (std::size_t i = 0; i < reply.size(); ++i) {
      const auto more = i + 1 < reply.size() ? zmq::send_flags::sndmore : zmq::send_flags::none;
      socket_.send(zmq::buffer(reply[i]), more);
    }
  }

  bool is_trusted(const zmq::message_t& credentials) const {
    if (credentials.size() != kKeyBytes) return false;
    PublicKey key;
    std::copy_n(credentials.data<unsigned char>(), kKeyBytes, key.begin());
    return trusted_.contains(key);
  }

  std::set<PublicKey> trusted_;
  zmq::socket_t socket_;
  std::thread thread_;
};

// Repeats a call that a signal interrupted.
template <class Call>
auto uninterrupted(const Call& call) {
  while (true) {
    try {
      return call();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
    }
  }
}

zmq::socket_type zmq_type(Socket::Kind kind) {
  switch (kind) {
    case Socket::Kind::kDealer:
      return zmq::socket_type::dealer;
    case Socket::Kind::kRouter:
      return zmq::socket_type::router;
    case Socket::Kind::kPub:
      return zmq::socket_type::pub;
    default:
      return zmq::socket_type::sub;
  }
}

}  // namespace

bool is_local(const std::string& endpoint) {
  static const std::regex pattern(
      R"((ipc|inproc)://.*|tcp://(127\.\d+\.\d+\.\d+|localhost|\[::1\]):[^:]+)");
  return std::regex_match(endpoint, pattern);
}

// ---- Messaging ----

struct Messaging::Impl {
  zmq::context_t context;
  std::optional<Keys> keys;
  std::optional<Gatekeeper> gatekeeper;
};

Messaging::Messaging() : impl_(std::make_unique<Impl>()) {}

std::shared_ptr<Messaging> Messaging::create(const std::filesystem::path& keys) {
  std::shared_ptr<Messaging> messaging(new Messaging);
  if (keys.empty()) return messaging;
  if (zmq_has("curve") == 0) throw Error("this ZeroMQ library was built without CURVE encryption");
  Impl& impl = *messaging->impl_;
  impl.keys = load_keys(keys);
  std::set<PublicKey> trusted;
  for (const auto& entry : impl.keys->trusted) trusted.insert(decode_key(entry.second));
  impl.gatekeeper.emplace(impl.context, std::move(trusted));
  return messaging;
}

Messaging::~Messaging() {
  impl_->context.shutdown();  // ends the gatekeeper's wait
}

// ---- Received ----

struct Received::Impl {
  std::vector<zmq::message_t> messages;
};

Received::Received() : impl_(std::make_unique<Impl>()) {}
Received::~Received() = default;
Received::Received(Received&&) noexcept = default;
Received& Received::operator=(Received&&) noexcept = default;

// ---- WakeUp ----

WakeUp::WakeUp() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw Error("cannot create an event descriptor: too many open files");
}

WakeUp::~WakeUp() { ::close(fd_); }

void WakeUp::signal() noexcept {
  const std::uint64_t one = 1;
  // Can only fail when the counter is full, and then the waiting thread wakes anyway.
  [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof(one));
}

void WakeUp::clear() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(fd_, &count, sizeof(count));
}

// ---- Socket ----

struct Socket::Impl {
  std::shared_ptr<Messaging> messaging;  // before the socket: the context ends after it
  zmq::socket_t socket;

  // Null: no encryption.
  const Keys* keys() const {
    const std::optional<Keys>& keys = messaging->impl().keys;
    return keys ? &*keys : nullptr;
  }

  void check_endpoint(const std::string& endpoint) const {
    if (keys() != nullptr || is_local(endpoint)) return;
    throw Error(endpoint +
                " can be reached from other machines, and there are no keys: make them " +
                "with 'serl-rt keys', or use an address that starts with tcp://127.0.0.1:");
  }

  void use_pair_of(const Keys& keys) {
    socket.set(zmq::sockopt::curve_publickey, keys.public_key);
    socket.set(zmq::sockopt::curve_secretkey, keys.secret_key);
  }
};

Socket::Socket(std::shared_ptr<Messaging> messaging, Kind kind, std::size_t max_frame_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->socket = zmq::socket_t(messaging->impl().context, zmq_type(kind));
  impl_->messaging = std::move(messaging);
  impl_->socket.set(zmq::sockopt::linger, 0);
  impl_->socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(max_frame_bytes));
  impl_->socket.set(zmq::sockopt::rcvbuf, kReceiveBuffer);
  if (kind == Kind::kDealer) {
    // Nothing is queued for a connection that does not exist.
    impl_->socket.set(zmq::sockopt::immediate, true);
    impl_->socket.set(zmq::sockopt::reconnect_ivl, 50);
    impl_->socket.set(zmq::sockopt::reconnect_ivl_max, 1000);
  }
}

Socket::~Socket() = default;
Socket::Socket(Socket&&) noexcept = default;
Socket& Socket::operator=(Socket&&) noexcept = default;

void Socket::bind(const std::string& endpoint) {
  impl_->check_endpoint(endpoint);
  if (const Keys* keys = impl_->keys()) {
    impl_->use_pair_of(*keys);
    impl_->socket.set(zmq::sockopt::curve_server, true);
    impl_->socket.set(zmq::sockopt::zap_domain, kZapDomain);
  }
  try {
    impl_->socket.bind(endpoint);
  } catch (const zmq::error_t& error) {
    throw Error("cannot listen on \"" + endpoint + "\": " + error.what() +
                "; expected something like tcp://127.0.0.1:5591 that no other program uses");
  }
}

void Socket::connect(const std::string& endpoint, const std::string& server) {
  impl_->check_endpoint(endpoint);
  if (const Keys* keys = impl_->keys()) {
    impl_->use_pair_of(*keys);
    impl_->socket.set(zmq::sockopt::curve_serverkey, keys->trusted_key(server));
  }
  try {
    impl_->socket.connect(endpoint);
  } catch (const zmq::error_t& error) {
    throw Error("cannot connect to \"" + endpoint + "\": " + error.what() +
                "; expected something like tcp://127.0.0.1:5588");
  }
}

bool Socket::send(std::span<const BytesView> frames) {
  // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): a set of flags
  constexpr auto kMore = static_cast<zmq::send_flags>(ZMQ_DONTWAIT + ZMQ_SNDMORE);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto flags = i + 1 < frames.size() ? kMore : zmq::send_flags::dontwait;
    // Only the first frame can be refused: libzmq counts messages, not frames.
    const zmq::const_buffer frame(frames[i].data(), frames[i].size());
    if (!uninterrupted([&] { return impl_->socket.send(frame, flags); })) return false;
  }
  return true;
}

std::optional<Received> Socket::receive() {
  Received received;
  std::vector<zmq::message_t>& messages = received.impl_->messages;
  do {
    zmq::message_t frame;
    const auto take = [&] { return impl_->socket.recv(frame, zmq::recv_flags::dontwait); };
    if (!uninterrupted(take)) return std::nullopt;
    messages.push_back(std::move(frame));
  } while (messages.back().more());
  for (const zmq::message_t& message : messages) {
    received.frames_.emplace_back(static_cast<const std::byte*>(message.data()), message.size());
  }
  return received;
}

void Socket::wait(std::chrono::milliseconds timeout, WakeUp& wake) {
  std::array<zmq::pollitem_t, 2> items = {
      {{impl_->socket.handle(), 0, ZMQ_POLLIN, 0}, {nullptr, wake.fd(), ZMQ_POLLIN, 0}}};
  try {
    zmq::poll(items, timeout);
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;  // a signal only ends the wait early
  }
  if (items[1].revents != 0) wake.clear();
}

std::string Socket::endpoint() const { return impl_->socket.get(zmq::sockopt::last_endpoint); }

}  // namespace serl_rt
