// The only file that sees libmodbus. Registers as in Robotiq's 2F-85 and 2F-140 instruction manual,
// "Control" chapter.
#include "drivers/robotiq.hpp"

#include <modbus/modbus.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kBaudRate = 115'200;
constexpr int kRtuUnit = 9;
constexpr std::uint32_t kAnswer_us = 300'000;  // longest wait for an answer
constexpr auto kActivationPatience = 10s;      // it takes about two seconds
constexpr auto kEchoPatience = 500ms;          // until a request shows in the status

// What full speed and force mean for a 2F-85; rSP and rFR are linear between.
constexpr double kMinSpeed = 0.020, kMaxSpeed = 0.150;  // [m/s]
constexpr double kMinForce = 20.0, kMaxForce = 235.0;   // [N]

// High byte of the first output register.
constexpr std::uint16_t kActivated = 0x0100;  // rACT
constexpr std::uint16_t kGo = 0x0800;         // rGTO

struct Status {
  bool activated = false;  // gACT
  bool going = false;      // gGTO
  int phase = 0;           // gSTA: 0 reset, 1 activating, 3 active
  int object = 0;          // gOBJ: 0 moving, 1 stopped while opening, 2 while closing, 3 arrived
  int fault = 0;           // gFLT
  int echo = 0;            // gPR: the position that was asked for
  int position = 0;        // gPO: 0 open .. 255 closed
};

const char* fault_text(int fault) {
  switch (fault) {
    case 0x0:
      return "";
    case 0x5:
      return "the action waits for the activation";
    case 0x7:
      return "it is not activated";
    case 0x8:
      return "it is too hot: let it cool down";
    case 0x9:
      return "it has heard nothing for a second";
    case 0xA:
      return "its supply voltage is too low";
    case 0xB:
      return "an automatic release is in progress";
    case 0xC:
      return "internal fault: activate it again, or call Robotiq";
    case 0xD:
      return "activation fault: something blocks the fingers";
    case 0xE:
      return "overcurrent";
    case 0xF:
      return "an automatic release has ended: activate it again";
    default:
      return "unknown fault";
  }
}

std::uint16_t byte_of(double value, double low, double high) {
  const double fraction = std::clamp((value - low) / (high - low), 0.0, 1.0);
  return static_cast<std::uint16_t>(std::lround(255.0 * fraction));
}

struct Free {
  void operator()(modbus_t* modbus) const noexcept { modbus_free(modbus); }
};
using Modbus = std::unique_ptr<modbus_t, Free>;

// Where the gripper is and how its registers are numbered there.
struct Address {
  std::string host, port;  // TCP
  std::string device;      // RTU
  int unit = 0;
  int output = 0, input = 0;  // first register
};

Address parse_address(const GripperConfig& config) {
  const std::string& text = config.address;
  Address address;
  if (text.starts_with("rtu:") && text.size() > 4) {
    address.device = text.substr(4);
    address.unit = config.unit < 0 ? kRtuUnit : config.unit;
    address.output = 0x03E8;
    address.input = 0x07D0;
    return address;
  }
  if (text.starts_with("tcp://") && text.size() > 6) {
    const std::string rest = text.substr(6);
    const std::size_t colon = rest.find(':');
    address.host = rest.substr(0, colon);
    address.port = colon == std::string::npos ? "502" : rest.substr(colon + 1);
    address.unit = std::max(config.unit, 0);
    const bool number = !address.port.empty() && address.port.size() <= 5 &&
                        address.port.find_first_not_of("0123456789") == std::string::npos;
    if (!address.host.empty() && number) return address;
  }
  throw Error("gripper address '" + text +
              "' is not one of tcp://HOST[:PORT] and rtu:DEVICE, e.g. tcp://192.168.1.114 or "
              "rtu:/dev/ttyUSB0");
}

class Robotiq final : public GripperHardware {
 public:
  explicit Robotiq(const GripperConfig& config)
      : config_(config),
        address_(parse_address(config)),
        max_width_(config.max_width > 0.0 ? config.max_width : kRobotiqMaxWidth) {}

  void connect() override {
    modbus_.reset(address_.device.empty()
                      ? modbus_new_tcp_pi(address_.host.c_str(), address_.port.c_str())
                      : modbus_new_rtu(address_.device.c_str(), kBaudRate, 'N', 8, 1));
    if (!modbus_) fail("could not be opened");
    modbus_set_response_timeout(modbus_.get(), 0, kAnswer_us);
    modbus_set_slave(modbus_.get(), address_.unit);
    if (modbus_connect(modbus_.get()) != 0) fail("could not be reached");
    activation_ = Activation::kNone;
    waiting_.reset();
    going_ = false;
    failure_.clear();
  }

  void disconnect() noexcept override {
    if (modbus_) modbus_close(modbus_.get());
    modbus_.reset();
  }

  void begin(const GripperCommand& command) override {
    failure_.clear();
    if (command.kind == GripperCommand::Kind::kActivate) {
      if (read().phase == 3 && read().fault == 0) return;  // the fingers need not move
      write({});                                           // clears a fault, too
      begin_activation(Activation::kResetting);
      waiting_.reset();
      going_ = false;
      return;
    }
    if (activation_ != Activation::kNone) {
      waiting_ = command;  // newest wins
      return;
    }
    if (command.kind == GripperCommand::Kind::kStop) {
      going_ = false;
      write({kActivated, 0, 0});
      return;
    }
    if (read().phase != 3) {
      failure_ = "the gripper is not activated: ask it to activate; the fingers move";
      return;
    }
    const double speed = command.speed.value_or(config_.speed);
    const double force = command.force.value_or(config_.force);
    // An object is met before the fingers are where it was expected: a grasp closes fully.
    const double width = command.kind == GripperCommand::Kind::kGrasp ? 0.0 : command.width;
    position_ = byte_of(max_width_ - width, 0.0, max_width_);
    const auto limits = static_cast<std::uint16_t>((byte_of(speed, kMinSpeed, kMaxSpeed) << 8) |
                                                   byte_of(force, kMinForce, kMaxForce));
    write({kActivated | kGo, position_, limits});
    going_ = true;
    begun_ = Clock::now();
  }

  GripperReport poll() override {
    const Status status = read();
    follow_activation(status);
    // The status may still be of the request before: the echo tells.
    const bool echoed = status.echo == position_ || Clock::now() - begun_ > kEchoPatience;
    if (going_ && echoed && status.object != 0) going_ = false;
    GripperReport report;
    report.max_width = max_width_;
    report.width = max_width_ * (1.0 - status.position / 255.0);
    report.moving = going_ || activation_ != Activation::kNone;
    report.grasped = status.going && (status.object == 1 || status.object == 2);
    report.failure = failure_;
    if (status.fault != 0 && activation_ == Activation::kNone) {
      report.failure = std::string("the gripper reports: ") + fault_text(status.fault);
      report.moving = going_ = false;
    }
    return report;
  }

 private:
  enum class Activation { kNone, kResetting, kActivating };

  void begin_activation(Activation phase) {
    activation_ = phase;
    activation_begun_ = Clock::now();
  }

  // rACT must be seen at 0 before it is set again.
  void follow_activation(const Status& status) {
    if (activation_ == Activation::kNone) return;
    if (activation_ == Activation::kResetting && !status.activated && status.phase == 0) {
      write({kActivated, 0, 0});
      activation_ = Activation::kActivating;
    } else if (activation_ == Activation::kActivating && status.phase == 3) {
      activation_ = Activation::kNone;
      if (waiting_) begin(*std::exchange(waiting_, std::nullopt));
    } else if (Clock::now() - activation_begun_ > kActivationPatience ||
               (activation_ == Activation::kActivating && status.fault >= 0xA)) {
      activation_ = Activation::kNone;
      waiting_.reset();
      failure_ = std::string("the gripper could not be activated: ") +
                 (status.fault != 0 ? fault_text(status.fault) : "it took too long");
    }
  }

  Status read() {
    std::array<std::uint16_t, 3> r{};
    const int count = address_.device.empty()
                          ? modbus_read_input_registers(modbus_.get(), address_.input, 3, r.data())
                          : modbus_read_registers(modbus_.get(), address_.input, 3, r.data());
    if (count != 3) fail("does not answer");
    const int flags = r[0] >> 8;
    return {(flags & 1) != 0, ((flags >> 3) & 1) != 0, (flags >> 4) & 3,
            (flags >> 6) & 3, (r[1] >> 8) & 0xF,       r[1] & 0xFF,
            r[2] >> 8};
  }

  void write(const std::array<std::uint16_t, 3>& registers) {
    if (modbus_write_registers(modbus_.get(), address_.output, 3, registers.data()) != 3) {
      fail("takes no command");
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error("the gripper at " + config_.address + " " + what + " (" + modbus_strerror(errno) +
                ")");
  }

  const GripperConfig config_;
  const Address address_;
  const double max_width_;
  Modbus modbus_;

  Activation activation_ = Activation::kNone;
  Clock::time_point activation_begun_;
  std::optional<GripperCommand> waiting_;  // for the activation
  std::uint16_t position_ = 0;             // that was asked for
  bool going_ = false;
  Clock::time_point begun_;
  std::string failure_;
};

}  // namespace

std::unique_ptr<GripperHardware> make_robotiq(const GripperConfig& config) {
  return std::make_unique<Robotiq>(config);
}

}  // namespace serl_rt
