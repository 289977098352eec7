#include "drivers/franka_hand.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace serl_rt {
namespace {

static_assert(std::endian::native == std::endian::little);

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr const char* kPort = "1338";
constexpr std::uint16_t kVersion = 3;
constexpr int kAnswer_ms = 1000;          // to connect, and for the answer to that
constexpr int kStaleStates = 2;           // one may have been on its way, the next is newer
constexpr auto kSilence = 2s;             // without a state the connection counts as lost
constexpr double kHandSpeed = 0.1;        // [m/s] the hand moves no faster
constexpr double kHandForce = 140.0;      // [N] nor grasps harder, for a moment; 70 for long
constexpr std::size_t kHeaderBytes = 10;  // command u2, id u4, size of the message u4
constexpr std::size_t kStateBytes =
    23;  // id u4, width f8, max_width f8, grasped u1, temperature u2
constexpr std::size_t kMaxMessage = 4096;
constexpr double kWidest = 0.2;  // [m] with any fingers; a state that says more is none

enum class Request : std::uint16_t { kConnect, kHoming, kGrasp, kMove, kStop };
enum class Result : std::uint16_t { kSuccess, kFail, kUnsuccessful, kAborted };

template <class T>
void put(std::vector<std::uint8_t>& bytes, T value) {
  const auto* begin = reinterpret_cast<const std::uint8_t*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(T));
}

template <class T>
T get(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) noexcept : value_(value) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void reset(int value = -1) noexcept {
    if (value_ >= 0) close(value_);
    value_ = value;
  }
  int operator*() const noexcept { return value_; }

 private:
  int value_;
};

bool ready(int descriptor, short events, int timeout_ms) {
  pollfd watched{descriptor, events, 0};
  return ::poll(&watched, 1, timeout_ms) > 0;
}

class FrankaHand final : public GripperHardware {
 public:
  FrankaHand(const GripperConfig& config, std::string host)
      : config_(config), host_(std::move(host)) {}

  void connect() override {
    open_sockets();
    received_.clear();
    running_.reset();
    next_.reset();
    stopping_ = 0;
    failure_.clear();
    std::vector<std::uint8_t> hello;
    put(hello, kVersion);
    put(hello, udp_port_);
    const std::uint32_t id = send(Request::kConnect, hello);
    const auto deadline = Clock::now() + std::chrono::milliseconds(kAnswer_ms);
    std::optional<Answer> answer;
    while (!answer) {
      if (Clock::now() > deadline) fail("does not answer");
      ready(*tcp_, POLLIN, 50);
      answer = receive();
    }
    if (answer->id != id || answer->result != Result::kSuccess) {
      fail("speaks another version of the protocol than " + std::to_string(kVersion));
    }
    heard_ = Clock::now();
    while (!receive_state()) {
      if (Clock::now() > deadline) fail("sends no state: is UDP blocked by a firewall?");
      ready(*udp_, POLLIN, 50);
    }
  }

  void disconnect() noexcept override {
    tcp_.reset();
    udp_.reset();
  }

  void begin(const GripperCommand& command) override {
    failure_.clear();
    if (running_) {
      next_ = command;  // newest wins
      if (stopping_ == 0) stopping_ = send(Request::kStop, {});
      return;
    }
    start(command);
  }

  GripperReport poll() override {
    while (receive_state()) {
      heard_ = Clock::now();
      if (stale_states_ > 0) --stale_states_;
    }
    while (const auto answer = receive()) take(*answer);
    if (next_ && !running_ && stopping_ == 0) start(*std::exchange(next_, std::nullopt));
    if (Clock::now() - heard_ > kSilence) fail("has not sent its state for two seconds");
    GripperReport report{width_, max_width_, running_ || next_ || stale_states_ > 0, grasped_,
                         failure_};
    if (report.failure.empty() && max_width_ <= 0.0) {
      report.failure = "the hand does not know its width: ask it to activate, which homes it";
    }
    return report;
  }

 private:
  struct Answer {
    std::uint32_t id = 0;
    Result result = Result::kFail;
  };
  struct Running {
    std::uint32_t id = 0;
    GripperCommand::Kind kind = GripperCommand::Kind::kMove;
  };

  void start(const GripperCommand& command) {
    using Kind = GripperCommand::Kind;
    const double speed = std::min(command.speed.value_or(config_.speed), kHandSpeed);
    std::vector<std::uint8_t> body;
    Request request = Request::kStop;
    if (command.kind == Kind::kActivate) {
      request = Request::kHoming;
    } else if (command.kind == Kind::kMove) {
      request = Request::kMove;
      put(body, std::min(command.width, max_width_));
      put(body, speed);
    } else if (command.kind == Kind::kGrasp) {
      request = Request::kGrasp;
      put(body, command.width);
      // Whatever is between the fingers counts, as in SERL.
      put(body, 1.0);
      put(body, 1.0);
      put(body, speed);
      put(body, std::min(command.force.value_or(config_.force), kHandForce));
    }
    running_ = Running{send(request, body), command.kind};
  }

  void take(const Answer& answer) {
    if (answer.id == stopping_) stopping_ = 0;
    if (!running_ || answer.id != running_->id) return;
    const GripperCommand::Kind kind = running_->kind;
    running_.reset();
    stale_states_ = kStaleStates;
    if (next_) return;  // it was interrupted on purpose
    if (answer.result == Result::kFail || answer.result == Result::kAborted) {
      failure_ = std::string("the hand ") +
                 (answer.result == Result::kFail ? "refused or failed" : "aborted") +
                 (kind == GripperCommand::Kind::kActivate ? " the homing" : " the command");
    } else if (answer.result == Result::kUnsuccessful && kind != GripperCommand::Kind::kGrasp) {
      failure_ = "the hand could not do it";
    }
  }

  void open_sockets() {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int error = getaddrinfo(host_.c_str(), kPort, &hints, &found); error != 0) {
      throw Error("the hand at " + host_ + " cannot be looked up: " + gai_strerror(error));
    }
    tcp_.reset(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    std::memcpy(&hand_, found->ai_addr, sizeof(hand_));
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
    udp_.reset(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (bind(*udp_, reinterpret_cast<sockaddr*>(&local), sizeof(local)) != 0) {
      fail(std::string("has no socket for its state: ") + std::strerror(errno));
    }
    getsockname(*udp_, reinterpret_cast<sockaddr*>(&local), &length);
    udp_port_ = ntohs(local.sin_port);
  }

  std::uint32_t send(Request request, const std::vector<std::uint8_t>& body) {
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

  // One answer, if a whole one has come.
  std::optional<Answer> receive() {
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

  // The next state of the hand, if one has come. Anybody can send to the port: what is not from the
  // hand, or cannot be a state, is left out.
  bool receive_state() {
    std::array<std::uint8_t, 64> packet;
    sockaddr_in sender{};
    socklen_t length = sizeof(sender);
    ssize_t count = 0;
    while ((count = recvfrom(*udp_, packet.data(), packet.size(), 0,
                             reinterpret_cast<sockaddr*>(&sender), &length)) >= 0) {
      const auto width = get<double>(packet.data() + 4);
      const auto max_width = get<double>(packet.data() + 12);
      if (count == static_cast<ssize_t>(kStateBytes) && is_hand(sender) && possible(width) &&
          possible(max_width)) {
        width_ = width;
        max_width_ = max_width;
        grasped_ = packet[20] != 0;
        return true;
      }
    }
    return false;
  }

  // A simulated hand may answer from another loopback address than it listens on.
  bool is_hand(const sockaddr_in& sender) const noexcept {
    const auto loopback = [](const sockaddr_in& address) {
      return ntohl(address.sin_addr.s_addr) >> 24U == IN_LOOPBACKNET;
    };
    return sender.sin_addr.s_addr == hand_.sin_addr.s_addr || (loopback(sender) && loopback(hand_));
  }

  static bool possible(double width) noexcept { return width >= -0.01 && width <= kWidest; }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error("the hand at " + host_ + " " + what);
  }

  const GripperConfig config_;
  const std::string host_;
  Descriptor tcp_;
  Descriptor udp_;
  sockaddr_in hand_{};  // where the connection goes
  std::uint16_t udp_port_ = 0;
  std::vector<std::uint8_t> received_;
  std::uint32_t last_id_ = 0;
  Clock::time_point heard_;

  std::optional<Running> running_;
  std::optional<GripperCommand> next_;
  int stale_states_ = 0;        // still to come that may be older than the last answer
  std::uint32_t stopping_ = 0;  // number of the stop that is not yet answered; 0: none
  std::string failure_;
  double width_ = 0.0;
  double max_width_ = 0.0;
  bool grasped_ = false;
};

}  // namespace

std::unique_ptr<GripperHardware> make_franka_hand(const GripperConfig& config,
                                                  const std::string& host) {
  return std::make_unique<FrankaHand>(config, host);
}

}  // namespace serl_rt
