#include "drivers/franka_driver.hpp"

#if __has_include(<franka/active_control_base.h>)
#include <franka/active_control_base.h>
#elif __has_include(<franka/active_control.h>)
#include <franka/active_control.h>
#endif
#include <franka/exception.h>
#include <franka/model.h>
#include <franka/robot.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <semaphore>
#include <thread>
#include <utility>

#include "drivers/franka_trouble.hpp"
#include "drivers/robot_clock.hpp"

namespace serl_rt {
namespace {

template <class Array, class Values>
Array to_array(const Values& values) {
  Array array;
  std::copy_n(values.data(), array.size(), array.begin());
  return array;
}

std::array<double, 16> to_matrix(const Pose& pose) {
  Eigen::Isometry3d transform = Eigen::Isometry3d::Identity();
  transform.translate(pose.position).rotate(pose.orientation);
  return to_array<std::array<double, 16>>(transform.matrix());  // column-major, as libfranka's
}

Pose to_pose(const std::array<double, 16>& matrix) {
  const Eigen::Map<const Eigen::Matrix4d> transform(matrix.data());
  return {transform.topRightCorner<3, 1>(), Quat(transform.topLeftCorner<3, 3>())};
}

const char* mode_name(franka::RobotMode mode) noexcept {
  switch (mode) {
    case franka::RobotMode::kOther:
      return "Other";
    case franka::RobotMode::kIdle:
      return "Idle";
    case franka::RobotMode::kMove:
      return "Move";
    case franka::RobotMode::kGuiding:
      return "Guiding";
    case franka::RobotMode::kReflex:
      return "Reflex";
    case franka::RobotMode::kUserStopped:
      return "UserStopped";
    case franka::RobotMode::kAutomaticErrorRecovery:
      return "AutomaticErrorRecovery";
  }
  return "Other";
}

Trouble failure(const std::exception_ptr& exception, const std::string& ip) {
  try {
    std::rethrow_exception(exception);
  } catch (const franka::ControlException& error) {
    return franka_failure("ControlException", error.what(), ip);
  } catch (const franka::NetworkException& error) {
    return franka_failure("NetworkException", error.what(), ip);
  } catch (const franka::ProtocolException& error) {
    return franka_failure("ProtocolException", error.what(), ip);
  } catch (const franka::IncompatibleVersionException& error) {
    return franka_failure("IncompatibleVersionException", error.what(), ip);
  } catch (const franka::CommandException& error) {
    return franka_failure("CommandException", error.what(), ip);
  } catch (const std::exception& error) {
    return franka_failure("", error.what(), ip);
  }
}

// A running torque control: one sample, one torque, in turns.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual franka::RobotState read() = 0;
  virtual void write(const franka::Torques& torques) = 0;
};

#ifdef SERL_RT_FRANKA_CALLBACKS  // to test the other way with a new libfranka
template <class Robot>
concept ReadsAndWrites = false;
#else
template <class Robot>
concept ReadsAndWrites = requires(Robot& robot) { robot.startTorqueControl(); };
#endif

// libfranka since 0.10 lets its user read and write.
template <class Robot>
class DirectChannel final : public Channel {
 public:
  explicit DirectChannel(Robot& robot) : control_(robot.startTorqueControl()) {}
  franka::RobotState read() override { return control_->readOnce().first; }
  void write(const franka::Torques& torques) override { control_->writeOnce(torques); }

 private:
  decltype(std::declval<Robot&>().startTorqueControl()) control_;
};

// Before, it calls back from a loop of its own, which gets a thread of its own here. The two
// threads take turns: each cycle costs two wake-ups more.
class CallbackChannel final : public Channel {
 public:
  explicit CallbackChannel(franka::Robot& robot) : thread_([this, &robot] { run(robot); }) {}

  ~CallbackChannel() override {
    abandoned_ = true;
    command_.release();
    if (thread_.joinable()) thread_.join();
  }

  franka::RobotState read() override {
    sample_.acquire();
    if (error_) std::rethrow_exception(error_);
    return state_;
  }

  void write(const franka::Torques& torques) override {
    torques_ = torques;
    command_.release();
    if (!torques.motion_finished) return;
    thread_.join();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void run(franka::Robot& robot) {
    try {
      robot.control(
          [this](const franka::RobotState& state, franka::Duration) {
            state_ = state;
            sample_.release();
            command_.acquire();
            if (abandoned_) torques_.motion_finished = true;
            return torques_;
          },
          false, franka::kMaxCutoffFrequency);  // no second rate limit, no filter
    } catch (...) {
      error_ = std::current_exception();
    }
    sample_.release();
  }

  franka::RobotState state_;
  franka::Torques torques_{std::array<double, 7>{}};
  std::exception_ptr error_;
  std::counting_semaphore<> sample_{0};
  std::counting_semaphore<> command_{0};
  std::atomic<bool> abandoned_ = false;
  std::thread thread_;  // last: uses the others
};

template <class Robot>
std::unique_ptr<Channel> open_channel(Robot& robot) {
  if constexpr (ReadsAndWrites<Robot>) {
    return std::make_unique<DirectChannel<Robot>>(robot);
  } else {
    return std::make_unique<CallbackChannel>(robot);
  }
}

class FrankaDriver final : public RobotDriver {
 public:
  explicit FrankaDriver(const RobotConfig& config) : config_(config) {}

  Trouble start() override {
    channel_.reset();
    try {
      if (!robot_) connect();
      Trouble found = franka_mode(mode_name(robot_->readOnce().robot_mode));
      if (found.absence == Absence::kReflex) {
        robot_->automaticErrorRecovery();
        found = franka_mode(mode_name(robot_->readOnce().robot_mode));
      }
      if (found.absence != Absence::kNone) return found;
      set_up();
      channel_ = open_channel(*robot_);
      clock_.restart();
      return {};
    } catch (...) {
      return lose();
    }
  }

  bool read(State& state) noexcept override {
    try {
      fill(channel_->read(), state);
      return true;
    } catch (...) {
      trouble_ = lose();
      return false;
    }
  }

  bool write(const Vec7& tau) noexcept override {
    try {
      torques_.tau_J = to_array<std::array<double, 7>>(tau);
      channel_->write(torques_);
      return true;
    } catch (...) {
      trouble_ = lose();
      return false;
    }
  }

  void stop() noexcept override {
    try {
      if (channel_) channel_->write(franka::MotionFinished(torques_));
    } catch (...) {
      // It is not in control any more either way.
    }
    channel_.reset();
  }

  std::string set_load(const std::optional<RobotLoad>& load) override {
    config_.load = load;
    return {};
  }

  Trouble trouble() const override { return trouble_; }

  CommandQuality quality() const noexcept override {
    return {success_rate_.load(std::memory_order_relaxed), clock_.lost()};
  }

 private:
  void connect() {
    // An ordinary kernel is reported by the program, not refused by the library.
    robot_.emplace(config_.ip, franka::RealtimeConfig::kIgnore);
    model_.emplace(robot_->loadModel());
  }

  void set_up() {
    const auto joints = [](const Vec7& v) { return to_array<std::array<double, 7>>(v); };
    const auto axes = [](const Vec6& v) { return to_array<std::array<double, 6>>(v); };
    robot_->setCollisionBehavior(joints(config_.contact_torque), joints(config_.collision_torque),
                                 axes(config_.contact_force), axes(config_.collision_force));
    if (config_.ee) robot_->setEE(to_matrix(*config_.ee));
    if (config_.load) {
      robot_->setLoad(config_.load->mass, to_array<std::array<double, 3>>(config_.load->centre),
                      config_.load->inertia);
    }
  }

  void fill(const franka::RobotState& sample, State& state) {
    state.time_ns = clock_.sample(sample.time.toMSec());
    state.q = Vec7::Map(sample.q.data());
    state.dq = Vec7::Map(sample.dq.data());
    state.tau_J = Vec7::Map(sample.tau_J.data());
    state.tau_J_d = Vec7::Map(sample.tau_J_d.data());
    // From the model, like the Jacobian, so that both are of the same point.
    state.O_T_EE = to_pose(model_->pose(franka::Frame::kEndEffector, sample));
    state.zero_jacobian =
        Jacobian::Map(model_->zeroJacobian(franka::Frame::kEndEffector, sample).data());
    state.coriolis = Vec7::Map(model_->coriolis(sample).data());
    state.gravity = Vec7::Map(model_->gravity(sample).data());
    state.O_F_ext = Vec6::Map(sample.O_F_ext_hat_K.data());
    success_rate_.store(sample.control_command_success_rate, std::memory_order_relaxed);
  }

  // Within a handler: what has happened. A connection that may be broken is given up.
  Trouble lose() noexcept {
    Trouble trouble = failure(std::current_exception(), config_.ip);
    channel_.reset();
    if (trouble.absence == Absence::kNetwork || trouble.absence == Absence::kUnusable) {
      model_.reset();
      robot_.reset();
    }
    return trouble;
  }

  RobotConfig config_;
  std::optional<franka::Robot> robot_;
  std::optional<franka::Model> model_;
  std::unique_ptr<Channel> channel_;  // after robot_, which it uses
  franka::Torques torques_{std::array<double, 7>{}};
  RobotClock clock_;
  Trouble trouble_;
  std::atomic<double> success_rate_ = 0.0;
};

}  // namespace

std::unique_ptr<RobotDriver> make_franka_driver(const RobotConfig& config) {
  return std::make_unique<FrankaDriver>(config);
}

}  // namespace serl_rt
