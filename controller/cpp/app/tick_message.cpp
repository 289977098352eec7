#include "app/tick_message.hpp"

#include <bit>
#include <cctype>
#include <cstring>
#include <string_view>

namespace serl_rt {
namespace {

static_assert(std::endian::native == std::endian::little);

std::string upper(std::string_view text) {
  std::string result;
  for (const char c : text) {
    result += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return result;
}

// Common Data Representation, little-endian: each number at a multiple of its size, counted from
// after the four bytes of the header.
class CdrWriter {
 public:
  explicit CdrWriter(std::vector<std::uint8_t>& message) : message_(message) {
    message_.assign({0, 1, 0, 0});
  }
  template <class T>
  void number(T value) {
    while ((message_.size() - kHeader) % sizeof(T) != 0) message_.push_back(0);
    const auto* begin = reinterpret_cast<const std::uint8_t*>(&value);
    message_.insert(message_.end(), begin, begin + sizeof(T));
  }
  template <class Vector>
  void numbers(const Vector& values) {
    for (Eigen::Index i = 0; i < values.size(); ++i) number(values[i]);
  }
  void pose(const Pose& pose) {
    numbers(pose.position);
    numbers(pose.orientation.coeffs());
  }
  void text(std::string_view text) {
    number(static_cast<std::uint32_t>(text.size() + 1));
    message_.insert(message_.end(), text.begin(), text.end());
    message_.push_back(0);
  }

 private:
  static constexpr std::size_t kHeader = 4;
  std::vector<std::uint8_t>& message_;
};

std::string mode_constants() {
  std::string text;
  for (int i = 0; std::string_view(to_string(static_cast<Mode>(i))) != "unknown"; ++i) {
    text += "uint8 MODE_" + upper(to_string(static_cast<Mode>(i))) + "=" + std::to_string(i) + "\n";
  }
  return text;
}

std::string fault_constants() {
  std::string text;
  for (std::size_t i = 0; i < kFaults; ++i) {
    FaultSet only;
    only.add(static_cast<Fault>(i));
    text += "uint32 FAULT_" + upper(to_string(static_cast<Fault>(i))) + "=" +
            std::to_string(only.bits()) + "\n";
  }
  return text;
}

}  // namespace

std::string tick_definition() {
  return "# One tick of the controller. Base frame; poses: xyz [m], quaternion xyzw.\n" +
         mode_constants() + fault_constants() +
         R"(int64 robot_time_ns         # robot clock
int64 monotonic_ns          # steady clock of the controller's machine
int64 period_ns             # since the sample before
int64 compute_ns            # that the tick before took
uint64 target_sequence      # of the last accepted target
uint64 policy_version       # of the target; 0: not from a policy
float64[7] q                # [rad] measured
float64[7] dq               # [rad/s] measured
float64[7] tau_measured     # [Nm]
float64[6] wrench           # [N, Nm] external, on the end effector
float64[7] pose             # measured
float64[7] pose_reference   # what the law followed; the measured pose in joint modes
float64[7] pose_target      # where the reference goes; the same in joint modes
float64[7] q_reference      # [rad] what the law followed; q in the other modes
float64[7] tau_law          # [Nm] before the limits
float64[7] tau              # [Nm] commanded, without gravity
uint32 faults               # sum of the FAULT_ bits of this tick
uint8 mode                  # MODE_
)";
}

std::string fault_definition() {
  return R"(# A fault was counted, in a tick or between ticks.
int64 monotonic_ns   # when the recorder saw it
uint64 count         # since the program started
float64 value        # of the last occurrence, in the fault's unit
float64 limit        # the same
string name
)";
}

void encode_tick(const TickRecord& tick, std::vector<std::uint8_t>& message) {
  CdrWriter cdr(message);
  cdr.number(tick.time_ns);
  cdr.number(tick.timing.monotonic_ns);
  cdr.number(tick.timing.period_ns);
  cdr.number(tick.timing.compute_ns);
  cdr.number(tick.target_sequence);
  cdr.number(tick.policy_version);
  cdr.numbers(tick.q);
  cdr.numbers(tick.dq);
  cdr.numbers(tick.tau_J);
  cdr.numbers(tick.O_F_ext);
  cdr.pose(tick.measured);
  cdr.pose(tick.reference);
  cdr.pose(tick.target);
  cdr.numbers(tick.q_reference);
  cdr.numbers(tick.tau_law);
  cdr.numbers(tick.tau);
  cdr.number(tick.faults.bits());
  cdr.number(static_cast<std::uint8_t>(tick.mode));
}

void encode_fault(const RecordedEvent& event, std::vector<std::uint8_t>& message) {
  CdrWriter cdr(message);
  cdr.number(event.monotonic_ns);
  cdr.number(event.count.count);
  cdr.number(event.count.value);
  cdr.number(event.count.limit);
  cdr.text(to_string(event.fault));
}

}  // namespace serl_rt
