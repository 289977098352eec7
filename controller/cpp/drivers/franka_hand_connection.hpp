// The connection to a Franka hand: its network protocol (version 3: Panda and FR3), without waiting
// for anything but at the start.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace serl_rt {

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) noexcept : value_(value) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void reset(int value = -1) noexcept;
  int operator*() const noexcept { return value_; }

 private:
  int value_;
};

// Everything but close() throws Error when the connection is lost, or the other side is no hand.
class FrankaHandConnection {
 public:
  enum class Request : std::uint16_t { kConnect, kHoming, kGrasp, kMove, kStop };
  enum class Result : std::uint16_t { kSuccess, kFail, kUnsuccessful, kAborted };

  struct Answer {
    std::uint32_t id = 0;  // that of the request
    Result result = Result::kFail;
  };
  struct State {
    double width = 0.0;      // [m]
    double max_width = 0.0;  // [m] 0: the hand does not know it
    bool grasped = false;
  };

  explicit FrankaHandConnection(std::string host) : host_(std::move(host)) {}

  // Connects, and returns the first state.
  State open();
  void close() noexcept;

  // Returns the number by which the answer is known.
  std::uint32_t send(Request request, std::initializer_list<double> values = {});

  // The next answer, the next state, if a whole one has come.
  std::optional<Answer> receive_answer();
  std::optional<State> receive_state();

  [[noreturn]] void fail(const std::string& what) const;

 private:
  void open_sockets();
  std::uint32_t send_bytes(Request request, const std::vector<std::uint8_t>& body);
  bool is_hand(std::uint32_t sender) const noexcept;

  const std::string host_;
  Descriptor tcp_;
  Descriptor udp_;
  std::uint32_t hand_ = 0;  // its address, in network order
  std::uint16_t udp_port_ = 0;
  std::vector<std::uint8_t> received_;
  std::uint32_t last_id_ = 0;
};

}  // namespace serl_rt
