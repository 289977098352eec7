#include "drivers/franka_hand_connection.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/error.hpp"

namespace serl_rt {
namespace {

static_assert(std::endian::native == std::endian::little);

using Clock = std::chrono::steady_clock;

constexpr const char* kPort = "1338";
constexpr std::uint16_t kVersion = 3;
constexpr int kAnswer_ms = 1000;          // to connect, and for the answer to that
constexpr std::size_t kHeaderBytes = 10;  // command u2, id u4, size of the message u4
constexpr std::size_t kStateBytes =
    23;  // id u4, width f8, max_width f8, grasped u1, temperature u2
constexpr std::size_t kMaxMessage = 4096;
constexpr double kWidest = 0.2;  // [m] with any fingers; a state that says more is none

template <class T>
void put(std::vector<std::uint8_t>& bytes, T value) {
  const std::size_t end = bytes.size();
  bytes.resize(end + sizeof(T));
  std::memcpy(bytes.data() + end, &value, sizeof(T));
}

template <class T>
T get(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

bool ready(int descriptor, short events, int timeout_ms) {
  pollfd watched{descriptor, events, 0};
  return ::poll(&watched, 1, timeout_ms) > 0;
}

bool possible(double width) noexcept { return width >= -0.01 && width <= kWidest; }

}  // namespace

void Descriptor::reset(int value) noexcept {
  if (value_ >= 0) ::close(value_);
  value_ = value;
}

FrankaHandConnection::State FrankaHandConnection::open() {
  open_sockets();
  received_.clear();
  std::vector<std::uint8_t> hello;
  put(hello, kVersion);
  put(hello, udp_port_);
  const std::uint32_t id = send_bytes(Request::kConnect, hello);
  const auto deadline = Clock::now() + std::chrono::milliseconds(kAnswer_ms);
  std::optional<Answer> answer;
  while (!answer) {
    if (Clock::now() > deadline) fail("does not answer");
    ready(*tcp_, POLLIN, 50);
    answer = receive_answer();
  }
  if (answer->id != id || answer->result != Result::kSuccess) {
    fail("speaks another version of the protocol than " + std::to_string(kVersion));
  }
  while (true) {
    if (const auto state = receive_state()) return *state;
    if (Clock::now() > deadline) fail("sends no state: is UDP blocked by a firewall?");
    ready(*udp_, POLLIN, 50);
  }
}

void FrankaHandConnection::close() noexcept {
  tcp_.reset();
  udp_.reset();
}

std::uint32_t FrankaHandConnection::send(Request request, std::initializer_list<double> values) {
  std::vector<std::uint8_t> body;
  for (const double value : values) put(body, value);
  return send_bytes(request, body);
}

std::uint32_t FrankaHandConnection::send_bytes(Request request,
                                               const std::vector<std::uint8_t>& body) {
  const std::uint32_t id = ++last_id_;
  std::vector<std::uint8_t> message;
  put(message, static_cast<std::uint16_t>(request));
  put(message, id);
  put(message, static_cast<std::uint32_t>(kHeaderBytes + body.size()));
  message.insert(message.end(), body.begin(), body.end());
  // A few bytes: they fit, or the connection is gone.
  const ssize_t sent = ::send(*tcp_, message.data(), message.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(message.size())) {
    fail(std::string("takes no command: ") + std::strerror(errno));
  }
  return id;
}

std::optional<FrankaHandConnection::Answer> FrankaHandConnection::receive_answer() {
  std::array<std::uint8_t, 256> buffer;
  ssize_t count = 0;
  while ((count = recv(*tcp_, buffer.data(), buffer.size(), 0)) > 0) {
    received_.insert(received_.end(), buffer.begin(), buffer.begin() + count);
  }
  const int error = errno;
  if (count == 0 || (error != EAGAIN && error != EWOULDBLOCK && error != EINTR)) {
    fail(std::string("has closed the connection") +
         (count == 0 ? "" : std::string(": ") + std::strerror(error)));
  }
  if (received_.size() < kHeaderBytes) return std::nullopt;
  const auto size = get<std::uint32_t>(received_.data() + 6);
  if (size < kHeaderBytes + 2 || size > kMaxMessage) fail("sends what is not its protocol");
  if (received_.size() < size) return std::nullopt;
  const Answer answer{get<std::uint32_t>(received_.data() + 2),
                      static_cast<Result>(get<std::uint16_t>(received_.data() + kHeaderBytes))};
  received_.erase(received_.begin(), received_.begin() + size);
  return answer;
}

// Anybody can send to the port: what is not from the hand, or cannot be a state, is left out.
std::optional<FrankaHandConnection::State> FrankaHandConnection::receive_state() {
  std::array<std::uint8_t, 64> packet;
  sockaddr_in sender{};
  socklen_t length = sizeof(sender);
  ssize_t count = 0;
  while ((count = recvfrom(*udp_, packet.data(), packet.size(), 0,
                           reinterpret_cast<sockaddr*>(&sender), &length)) >= 0) {
    const auto width = get<double>(packet.data() + 4);
    const auto max_width = get<double>(packet.data() + 12);
    if (count == static_cast<ssize_t>(kStateBytes) && is_hand(sender.sin_addr.s_addr) &&
        possible(width) && possible(max_width)) {
      return State{width, max_width, packet[20] != 0};
    }
  }
  return std::nullopt;
}

// A simulated hand may answer from another loopback address than it listens on.
bool FrankaHandConnection::is_hand(std::uint32_t sender) const noexcept {
  const auto loopback = [](std::uint32_t address) {
    return ntohl(address) >> 24U == IN_LOOPBACKNET;
  };
  return sender == hand_ || (loopback(sender) && loopback(hand_));
}

void FrankaHandConnection::open_sockets() {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host_.c_str(), kPort, &hints, &found); error != 0) {
    throw Error("the hand at " + host_ + " cannot be looked up: " + gai_strerror(error));
  }
  tcp_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in hand{};
  std::memcpy(&hand, found->ai_addr, sizeof(hand));
  hand_ = hand.sin_addr.s_addr;
  const bool begun =
      ::connect(*tcp_, found->ai_addr, found->ai_addrlen) == 0 || errno == EINPROGRESS;
  freeaddrinfo(found);
  int error = begun ? 0 : errno;
  socklen_t size = sizeof(error);
  if (begun && !ready(*tcp_, POLLOUT, kAnswer_ms)) error = ETIMEDOUT;
  if (error == 0) getsockopt(*tcp_, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) fail(std::string("cannot be reached: ") + std::strerror(error));
  const int on = 1;
  setsockopt(*tcp_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

  // The state arrives where the connection is, on no other interface.
  sockaddr_in local{};
  socklen_t length = sizeof(local);
  getsockname(*tcp_, reinterpret_cast<sockaddr*>(&local), &length);
  local.sin_port = 0;
  udp_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::bind(*udp_, reinterpret_cast<sockaddr*>(&local), sizeof(local)) != 0) {
    fail(std::string("has no socket for its state: ") + std::strerror(errno));
  }
  getsockname(*udp_, reinterpret_cast<sockaddr*>(&local), &length);
  udp_port_ = ntohs(local.sin_port);
}

void FrankaHandConnection::fail(const std::string& what) const {
  throw Error("the hand at " + host_ + " " + what);
}

}  // namespace serl_rt
