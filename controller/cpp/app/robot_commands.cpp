#include "app/robot_commands.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "app/gripper_commands.hpp"
#include "core/error.hpp"

namespace serl_rt {
namespace {

// An operator's targets are numbered apart from a policy's: who waits for one of his own must not
// take another's for it.
constexpr std::uint64_t kFirstSequence = std::uint64_t{1} << 62U;

constexpr double kMaxJoint = 2.0 * 3.14159265358979323846;  // [rad] limits are the robot's business
constexpr double kMaxDuration = 60.0;                       // [s]

Target target_of(Mode mode) {
  Target target;
  target.mode = mode;
  return target;
}

template <typename Vector>
Value::List to_list(const Vector& vector) {
  return Value::List(vector.data(), vector.data() + vector.size());
}

std::string words(const Refusal& refusal) {
  return std::string(to_string(refusal.fault)) + ": " + std::to_string(refusal.value) +
         ", allowed: " + std::to_string(refusal.limit);
}

Value gains_value(const CartesianGains& gains) {
  Value::Map map;
  for (const GainField& field : kGainFields) {
    map.emplace_back(std::string(field.name), field.scalar != nullptr
                                                  ? Value(gains.*field.scalar)
                                                  : Value(to_list(gains.*field.axes)));
  }
  return map;
}

std::vector<Parameter> gain_parameters() {
  std::vector<Parameter> parameters;
  for (const GainField& field : kGainFields) {
    std::string name(field.name);
    parameters.push_back((field.scalar != nullptr
                              ? Parameter::number(std::move(name), field.low, field.high)
                              : Parameter::numbers(std::move(name), 3, field.low, field.high))
                             .or_none());
  }
  return parameters;
}

// The last target that was refused; null: none yet.
Value refusal_value(const ControllerStatus& status) {
  if (status.refused_sequence == 0) return {};
  return Value::Map{{"sequence", status.refused_sequence},
                    {"fault", to_string(status.last_refusal)},
                    {"value", status.refused_value},
                    {"limit", status.refused_limit}};
}

}  // namespace

Value::Map fault_counts(const FaultCounters& counters) {
  Value::Map counts;
  const FaultSnapshot snapshot = counters.snapshot();
  for (std::size_t i = 0; i < snapshot.size(); ++i) {
    if (snapshot[i].count == 0) continue;
    counts.emplace_back(std::string(to_string(static_cast<Fault>(i))), snapshot[i].count);
  }
  return counts;
}

Value::Map controller_report(const Controller& controller) {
  const ControllerStatus status = controller.status();
  return {{"mode", to_string(status.mode)},
          {"in_charge", to_string(status.in_charge)},
          {"stopped", status.stopped},
          {"ticks", status.ticks},
          {"policy_version", status.policy_version},
          {"target_sequence", status.target_sequence},
          {"move_done_sequence", status.move_done_sequence},
          {"refused", refusal_value(status)},
          {"faults", fault_counts(controller.faults())}};
}

RobotCommands::RobotCommands(const TaskConfig& task, Controller& controller, Gripper& gripper,
                             std::function<State()> state, PolicyHooks policy)
    : task_(task),
      controller_(controller),
      gripper_(gripper),
      state_(std::move(state)),
      policy_(std::move(policy)),
      gains_(controller.config().gains),
      sequence_(kFirstSequence) {}

std::vector<CommandSpec> RobotCommands::commands() {
  std::vector<CommandSpec> list{describe(),    stop(),        hold(),      recover(), guide(),
                                move_joints(), joint_reset(), set_gains(), gains()};
  for (CommandSpec& command : gripper_commands(gripper_, [this] { require_charge(); })) {
    list.push_back(std::move(command));
  }
  return list;
}

void RobotCommands::follow(const wire::StreamTarget& target) {
  using Kind = wire::StreamTarget::Kind;
  if (target.kind == Kind::kAction) {
    policy_.intervene(target.values, target.timeout_s);
    return;
  }
  Target wanted;
  wanted.deadline_ns =
      controller_.status().time_ns + static_cast<std::int64_t>(1e9 * target.timeout_s);
  const double* values = target.values.data();
  switch (target.kind) {
    case Kind::kPose:
      wanted.mode = Mode::kCartesianImpedance;
      wanted.pose.position = Vec3(values);
      wanted.pose.orientation.coeffs() = Eigen::Vector4d(values + 3);  // x y z w
      break;
    case Kind::kJoints:
      wanted.mode = Mode::kJointImpedance;
      wanted.q = Vec7(values);
      break;
    default:
      wanted.mode = Mode::kCartesianWrench;
      wanted.wrench = Vec6(values);
  }
  send(wanted);  // whether it may be followed, the 1 kHz loop decides and reports
}

std::uint64_t RobotCommands::send(Target target) {
  target.sequence = ++sequence_;
  controller_.operator_targets().write(target);
  return target.sequence;
}

void RobotCommands::require_charge() const {
  if (controller_.in_charge() == Source::kOperator) return;
  throw Error("a policy moves the arm: pause it and wait until its episode is over, or stop it");
}

CommandSpec RobotCommands::describe() {
  return {"describe",
          "the task's limits, the robot's, and where its episodes begin",
          {},
          [this](const Arguments&) -> Value {
            const ControllerConfig& config = controller_.config();
            return Value::Map{{"task", task_.name},
                              {"policy_rate_hz", task_.contract.policy_rate_hz},
                              {"workspace_low", to_list(config.workspace.low)},
                              {"workspace_high", to_list(config.workspace.high)},
                              {"q_min", to_list(config.limits.q_min)},
                              {"q_max", to_list(config.limits.q_max)},
                              {"dq_max", to_list(config.limits.dq_max)},
                              {"reset_q", to_list(task_.episode.reset_q)},
                              {"reset_duration_s", task_.episode.reset_duration_s},
                              {"wrench_cap", to_list(config.wrench.cap)},
                              {"gripper_kind", task_.gripper.kind},
                              {"gripper_convention", task_.gripper.convention},
                              {"gripper_max_width", gripper_.max_width()}};
          }};
}

CommandSpec RobotCommands::stop() {
  return {"stop", "brake now, hold, and pause the policy", {}, [this](const Arguments&) {
            policy_.halt();
            return Value();
          }};
}

CommandSpec RobotCommands::hold() {
  return {"hold", "stay where the arm is; ends a stop", {}, [this](const Arguments&) -> Value {
            require_charge();
            policy_.release();
            return send(target_of(Mode::kHold));
          }};
}

CommandSpec RobotCommands::recover() {
  return {"recover",
          "a person has looked: the arm may move again after a stop or a reflex, and holds",
          {},
          [this](const Arguments&) -> Value {
            policy_.release();
            return send(target_of(Mode::kHold));  // not followed while a policy is in charge
          }};
}

CommandSpec RobotCommands::guide() {
  return {"guide", "let a person move the arm", {}, [this](const Arguments&) -> Value {
            require_charge();
            policy_.release();
            return send(target_of(Mode::kGravityCompensation));
          }};
}

CommandSpec RobotCommands::move_joints() {
  return {"move_joints",
          "begin a minimum-jerk move of the joints [rad]; duration_s 0 or none: the shortest",
          {Parameter::numbers("q", kJoints, -kMaxJoint, kMaxJoint),
           Parameter::number("duration_s", 0.0, kMaxDuration).or_none()},
          [this](const Arguments& arguments) {
            return move(Vec7(arguments.numbers("q").data()),
                        arguments.has("duration_s") ? arguments.number("duration_s") : 0.0);
          }};
}

CommandSpec RobotCommands::joint_reset() {
  return {"joint_reset",
          "begin a move to where the task's episodes begin",
          {Parameter::number("duration_s", 0.0, kMaxDuration).or_none()},
          [this](const Arguments& arguments) {
            return move(task_.episode.reset_q, arguments.has("duration_s")
                                                   ? arguments.number("duration_s")
                                                   : task_.episode.reset_duration_s);
          }};
}

// The whole path is checked before the arm moves: here, to answer with the reason, and by the tick
// that begins the move, from where the arm is then.
Value RobotCommands::move(const Vec7& q, double duration_s) {
  require_charge();
  const ControllerConfig& config = controller_.config();
  JointMove plan;
  if (const auto refusal =
          plan_joint_move(state_().q, q, duration_s, config.limits, config.stop.position_margin,
                          config.move_fraction, plan)) {
    throw Error(words(*refusal));
  }
  Target target = target_of(Mode::kJointMove);
  target.q = q;
  target.duration_s = duration_s;
  const std::uint64_t sequence = send(target);
  return Value::Map{{"sequence", sequence},
                    {"duration_s", plan.duration_s()},
                    {"settle_s", config.move_settle_s}};
}

CommandSpec RobotCommands::set_gains() {
  return {"set_gains", "change parameters of the impedance law; what is left out stays",
          gain_parameters(), [this](const Arguments& arguments) {
            for (const GainField& field : kGainFields) {
              if (!arguments.has(field.name)) continue;
              if (field.scalar != nullptr) {
                gains_.*field.scalar = arguments.number(field.name);
              } else {
                gains_.*field.axes = Vec3(arguments.numbers(field.name).data());
              }
            }
            controller_.gains().write(gains_);
            return Value();
          }};
}

CommandSpec RobotCommands::gains() {
  return {"gains",
          "the parameters of the impedance law that were last set",
          {},
          [this](const Arguments&) { return gains_value(gains_); }};
}

}  // namespace serl_rt
