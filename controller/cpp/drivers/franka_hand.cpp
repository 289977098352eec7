#include "drivers/franka_hand.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "drivers/franka_hand_connection.hpp"

namespace serl_rt {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kStaleStates = 2;       // one may have been on its way, the next is newer
constexpr auto kSilence = 2s;         // without a state the connection counts as lost
constexpr double kHandSpeed = 0.1;    // [m/s] the hand moves no faster
constexpr double kHandForce = 140.0;  // [N] nor grasps harder, for a moment; 70 for long

class FrankaHand final : public GripperHardware {
 public:
  FrankaHand(const GripperConfig& config, std::string host)
      : config_(config), connection_(std::move(host)) {}

  void connect() override {
    running_.reset();
    next_.reset();
    stopping_ = 0;
    failure_.clear();
    state_ = connection_.open();
    heard_ = Clock::now();
  }

  void disconnect() noexcept override { connection_.close(); }

  void begin(const GripperCommand& command) override {
    failure_.clear();
    if (running_) {
      next_ = command;  // newest wins
      if (stopping_ == 0) stopping_ = connection_.send(Request::kStop);
      return;
    }
    start(command);
  }

  GripperReport poll() override {
    while (const auto state = connection_.receive_state()) {
      state_ = *state;
      heard_ = Clock::now();
      if (stale_states_ > 0) --stale_states_;
    }
    while (const auto answer = connection_.receive_answer()) take(*answer);
    if (next_ && !running_ && stopping_ == 0) start(*std::exchange(next_, std::nullopt));
    if (Clock::now() - heard_ > kSilence) {
      connection_.fail("has not sent its state for two seconds");
    }
    GripperReport report{state_.width, state_.max_width, running_ || next_ || stale_states_ > 0,
                         state_.grasped, failure_};
    if (report.failure.empty() && state_.max_width <= 0.0) {
      report.failure = "the hand does not know its width: ask it to activate, which homes it";
    }
    return report;
  }

 private:
  using Answer = FrankaHandConnection::Answer;
  using Request = FrankaHandConnection::Request;
  using Result = FrankaHandConnection::Result;

  struct Running {
    std::uint32_t id = 0;
    GripperCommand::Kind kind = GripperCommand::Kind::kMove;
  };

  void start(const GripperCommand& command) {
    using Kind = GripperCommand::Kind;
    const double speed = std::min(command.speed.value_or(config_.speed), kHandSpeed);
    std::uint32_t id = 0;
    if (command.kind == Kind::kMove) {
      id = connection_.send(Request::kMove, {std::min(command.width, state_.max_width), speed});
    } else if (command.kind == Kind::kGrasp) {
      // Whatever is between the fingers counts, as in SERL: the tolerances are 1 m.
      const double force = std::min(command.force.value_or(config_.force), kHandForce);
      id = connection_.send(Request::kGrasp, {command.width, 1.0, 1.0, speed, force});
    } else {
      id = connection_.send(command.kind == Kind::kActivate ? Request::kHoming : Request::kStop);
    }
    running_ = Running{id, command.kind};
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

  const GripperConfig config_;
  FrankaHandConnection connection_;
  FrankaHandConnection::State state_;
  Clock::time_point heard_;

  std::optional<Running> running_;
  std::optional<GripperCommand> next_;
  int stale_states_ = 0;        // still to come that may be older than the last answer
  std::uint32_t stopping_ = 0;  // number of the stop that is not yet answered; 0: none
  std::string failure_;
};

}  // namespace

std::unique_ptr<GripperHardware> make_franka_hand(const GripperConfig& config,
                                                  const std::string& host) {
  return std::make_unique<FrankaHand>(config, host);
}

}  // namespace serl_rt
