#include "core/controller.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace serl_rt {
namespace {

constexpr double kRestVelocity = 0.02;  // [rad/s] an arm this slow can be held where it is
constexpr int kBrakingTicks = 500;      // after this long it is held even if it still creeps

bool finite(const State& state) noexcept {
  return state.q.allFinite() && state.dq.allFinite() && state.O_T_EE.position.allFinite() &&
         state.O_T_EE.orientation.coeffs().allFinite() && state.zero_jacobian.allFinite() &&
         state.coriolis.allFinite();
}

}  // namespace

Controller::Controller(const ControllerConfig& config)
    : config_(config),
      pose_filter_(config.filter),
      joint_filter_(config.filter),
      gain_filter_(config.gains, config.gains_time_constant_s),
      newest_gains_(config.gains),
      wrench_(config.wrench, config.workspace),
      guard_(config.limits, config.stop),
      fade_(config.mode_fade_s),
      limiter_(config.limits, config.wall, config.velocity_wall) {
  if (const std::string problem = validate(config); !problem.empty()) {
    throw Error("controller configuration: " + problem);
  }
}

void Controller::start(const State& state) noexcept {
  limiter_.reset(state.tau_J_d);
  guard_.reset();
  gain_filter_.reset(newest_gains_);
  posture_ = config_.nullspace_posture.value_or(state.q);
  hold();
  law_mode_ = Mode::kHold;
  fade_.cancel();
  status_.stopped = false;
  started_ = finite(state);  // else the first good sample starts it
}

Vec7 Controller::tick(const State& state, const TickTiming& timing) noexcept {
  TickFaults faults(counters_);
  ++status_.ticks;
  if (!finite(state)) {
    faults.raise(Fault::kStateNonFinite);
    stop();
    const Vec7 tau = limiter_.ramp_down();
    publish(state, timing, tau, tau, faults.set());
    return tau;
  }
  if (!started_) start(state);
  take_gains(faults);
  take_targets(state, faults);
  watch(state, faults);
  const Vec7 tau_law = law(state);
  const Vec7 tau = limiter_.apply(smoothed(tau_law), state, faults);
  publish(state, timing, tau_law, tau, faults.set());
  return tau;
}

void Controller::take_gains(TickFaults& faults) noexcept {
  CartesianGains gains;
  if (!gains_.read(gains)) return;
  if (!within_ranges(gains)) {
    faults.raise(Fault::kGainsOutOfRange);
    return;
  }
  newest_gains_ = gains;
  gain_filter_.set_target(gains);
}

void Controller::take_targets(const State& state, TickFaults& faults) noexcept {
  status_.in_charge = in_charge();
  Target target;
  if (targets_.read(target)) take_target(target, Source::kPolicy, state, faults);
  if (operator_targets_.read(target)) take_target(target, Source::kOperator, state, faults);
}

void Controller::take_target(const Target& target, Source source, const State& state,
                             TickFaults& faults) noexcept {
  const auto refusal =
      source != status_.in_charge ? Refusal{Fault::kTargetNotInCharge} : accept(target, state);
  if (refusal) {
    faults.raise(*refusal);
    status_.refused_sequence = target.sequence;
    status_.last_refusal = refusal->fault;
    status_.refused_value = refusal->value;
    status_.refused_limit = refusal->limit;
    return;
  }
  target_ = target;
  if (target.mode == Mode::kCartesianWrench) {
    const auto timeout_ns = static_cast<std::int64_t>(1e9 * config_.wrench.timeout_s);
    const std::int64_t latest = state.time_ns + timeout_ns;
    target_.deadline_ns = target.deadline_ns == 0 ? latest : std::min(latest, target.deadline_ns);
  }
  status_.mode = target.mode;
  status_.target_sequence = target.sequence;
  status_.policy_version = target.policy_version;
}

std::optional<Refusal> Controller::accept(const Target& target, const State& state) noexcept {
  if (target.deadline_ns != 0 && state.time_ns > target.deadline_ns) {
    return Refusal{Fault::kTargetStale,
                   1e-9 * static_cast<double>(state.time_ns - target.deadline_ns)};
  }
  switch (target.mode) {
    case Mode::kHold:
      if (status_.mode != Mode::kHold) hold();
      status_.stopped = false;
      return std::nullopt;
    case Mode::kGravityCompensation:
      status_.stopped = false;
      return std::nullopt;
    case Mode::kJointMove:
      return begin_move(target, state);
    case Mode::kCartesianImpedance:
      return follow_pose(target, state);
    case Mode::kJointImpedance:
      return follow_joints(target, state);
    case Mode::kCartesianWrench:
      return push(target, state);
  }
  return Refusal{Fault::kTargetInvalid};
}

std::optional<Refusal> Controller::follow_pose(const Target& target, const State& state) noexcept {
  if (status_.stopped) return Refusal{Fault::kTargetWhileStopped};
  const bool entering = status_.mode != Mode::kCartesianImpedance;
  const Pose& reference = entering ? state.O_T_EE : pose_filter_.reference();
  if (auto refusal = check_pose_target(target.pose, reference, pose_filter_.blend(),
                                       config_.workspace, config_.speed)) {
    return refusal;
  }
  if (entering) pose_filter_.reset(state.O_T_EE);
  pose_filter_.set_target({target.pose.position, target.pose.orientation.normalized()});
  integral_.reset();
  return std::nullopt;
}

std::optional<Refusal> Controller::follow_joints(const Target& target,
                                                 const State& state) noexcept {
  if (status_.stopped) return Refusal{Fault::kTargetWhileStopped};
  const bool entering = status_.mode != Mode::kJointImpedance;
  const Vec7& reference = entering ? state.q : joint_filter_.reference();
  if (auto refusal = check_joint_target(target.q, reference, joint_filter_.blend(), config_.limits,
                                        config_.stop.position_margin, config_.speed)) {
    return refusal;
  }
  if (entering) joint_filter_.reset(state.q);
  joint_filter_.set_target(target.q);
  return std::nullopt;
}

std::optional<Refusal> Controller::push(const Target& target, const State& state) noexcept {
  if (status_.stopped) return Refusal{Fault::kTargetWhileStopped};
  if (!target.wrench.allFinite()) return Refusal{Fault::kTargetInvalid};
  if (status_.mode != Mode::kCartesianWrench) wrench_.enter(state);
  wrench_.command(target.wrench);
  return std::nullopt;
}

std::optional<Refusal> Controller::begin_move(const Target& target, const State& state) noexcept {
  if (auto refusal = plan_joint_move(state.q, target.q, target.duration_s, config_.limits,
                                     config_.stop.position_margin, config_.move_fraction, move_)) {
    return refusal;
  }
  move_time_s_ = 0.0;
  law_mode_ = Mode::kHold;  // a move in place of a move is another law: faded into
  if (!config_.nullspace_posture) posture_ = target.q;
  status_.stopped = false;
  return std::nullopt;
}

// What ends a target that was accepted.
void Controller::watch(const State& state, TickFaults& faults) noexcept {
  if (stop_requested_.load(std::memory_order_relaxed)) {
    stop_requested_.store(false, std::memory_order_relaxed);
    faults.raise(Fault::kStopRequested);
    stop();
  }
  if (guard_.passed(state, faults)) stop();
  if (status_.mode != Mode::kHold && target_.deadline_ns != 0 &&
      state.time_ns > target_.deadline_ns) {
    faults.raise(Fault::kTargetStale,
                 1e-9 * static_cast<double>(state.time_ns - target_.deadline_ns));
    hold();
  }
}

void Controller::hold() noexcept {
  status_.mode = Mode::kHold;
  status_.policy_version = 0;
  braking_ticks_ = kBrakingTicks;
}

void Controller::stop() noexcept {
  hold();
  status_.stopped = true;
}

Vec7 Controller::law(const State& state) noexcept {
  const CartesianGains& gains = gain_filter_.advance();
  switch (status_.mode) {
    case Mode::kCartesianImpedance:
      return cartesian_impedance(state, pose_filter_.advance(), posture_, gains, integral_);
    case Mode::kJointImpedance:
      return joint_impedance(state, joint_filter_.advance(), Vec7::Zero(), config_.joint_gains);
    case Mode::kJointMove:
      return move_law(state);
    case Mode::kCartesianWrench:
      return wrench_.torque(state);
    case Mode::kGravityCompensation:
      return state.coriolis - config_.guiding_damping.cwiseProduct(state.dq);
    case Mode::kHold:
      break;
  }
  return hold_law(state);
}

// Between two modes the torque goes over smoothly. A stop does not wait for that: then only the
// torque's rate is limited.
Vec7 Controller::smoothed(const Vec7& tau_law) noexcept {
  if (status_.mode != law_mode_) {
    law_mode_ = status_.mode;
    fade_.begin(limiter_.last(), limiter_.last_step(), tau_law);
  }
  if (status_.stopped) fade_.cancel();
  return tau_law + fade_.next();
}

// A moving arm is braked by the dampers alone, then held where it came to rest: a spring to where
// the hold began would pull it back.
Vec7 Controller::hold_law(const State& state) noexcept {
  if (braking_ticks_ > 0) {
    hold_q_ = state.q;
    const bool at_rest = state.dq.cwiseAbs().maxCoeff() < kRestVelocity;
    braking_ticks_ = at_rest ? 0 : braking_ticks_ - 1;
  }
  return joint_impedance(state, hold_q_, Vec7::Zero(), config_.joint_gains);
}

Vec7 Controller::move_law(const State& state) noexcept {
  move_time_s_ += kTickSeconds;
  const JointSample sample = move_.sample(move_time_s_);
  const double over = move_time_s_ - move_.duration_s();
  const bool close = (move_.goal() - state.q).cwiseAbs().maxCoeff() <= config_.move_tolerance;
  if (over >= config_.move_settle_s || (over >= 0.0 && close)) {
    status_.move_done_sequence = target_.sequence;
  }
  return joint_impedance(state, sample.q, sample.dq, config_.joint_gains);
}

Vec7 Controller::joint_reference(const State& state) const noexcept {
  switch (status_.mode) {
    case Mode::kHold:
      return hold_q_;
    case Mode::kJointImpedance:
      return joint_filter_.reference();
    case Mode::kJointMove:
      return move_.sample(move_time_s_).q;
    default:
      return state.q;
  }
}

void Controller::publish(const State& state, const TickTiming& timing, const Vec7& tau_law,
                         const Vec7& tau, FaultSet faults) noexcept {
  const bool cartesian = status_.mode == Mode::kCartesianImpedance;
  const Pose& reference = cartesian ? pose_filter_.reference() : state.O_T_EE;
  if (records_ != nullptr) {
    const TickRecord record{.time_ns = state.time_ns,
                            .timing = timing,
                            .q = state.q,
                            .dq = state.dq,
                            .tau_J = state.tau_J,
                            .O_F_ext = state.O_F_ext,
                            .measured = state.O_T_EE,
                            .reference = reference,
                            .target = cartesian ? pose_filter_.target() : state.O_T_EE,
                            .q_reference = joint_reference(state),
                            .tau_law = tau_law,
                            .tau = tau,
                            .mode = status_.mode,
                            .faults = faults,
                            .target_sequence = status_.target_sequence,
                            .policy_version = status_.policy_version};
    if (!records_->try_push(record)) ++status_.records_dropped;
  }
  status_.time_ns = state.time_ns;
  Eigen::Map<Vec7> pose(status_.reference.data());
  pose << reference.position, reference.orientation.coeffs();
  published_.store(status_);
}

}  // namespace serl_rt
