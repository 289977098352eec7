#include "drivers/gripper_worker.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "core/error.hpp"

namespace serl_rt {
namespace {

using namespace std::chrono_literals;

constexpr auto kPollInterval = 20ms;
constexpr auto kReconnectInterval = 1s;

}  // namespace

std::uint64_t NoGripper::request(const GripperCommand&) {
  throw Error("there is no gripper: give --gripper, or kind in [gripper] of the task file");
}

GripperWorker::GripperWorker(std::unique_ptr<GripperHardware> hardware,
                             const GripperWorkerConfig& config)
    : hardware_(std::move(hardware)), config_(config), max_width_(config.max_width) {
  status_.connected = false;
  status_.opening = 1.0;
  status_.failure = "not connected yet";
  thread_ = std::thread([this] { run(); });
}

GripperWorker::~GripperWorker() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void GripperWorker::command(double opening) noexcept {
  if (!std::isfinite(opening)) return;
  opening = std::clamp(opening, 0.0, 1.0);
  {
    const std::scoped_lock lock(mutex_);
    if (!status_.connected || asked_opening_ == opening) return;
  }
  GripperCommand command;
  command.width = opening * max_width();
  if (opening < config_.grasp_below) command.kind = GripperCommand::Kind::kGrasp;
  enqueue(command);
  const std::scoped_lock lock(mutex_);
  asked_opening_ = opening;
}

std::uint64_t GripperWorker::request(const GripperCommand& command) {
  const double most = max_width();
  if (!(command.width >= 0.0 && command.width <= most + 1e-9)) {
    throw Error("gripper width " + std::to_string(command.width) + " m is not in [0, " +
                std::to_string(most) + "] m");
  }
  const auto positive = [](const std::optional<double>& value) {
    return !value || (std::isfinite(*value) && *value > 0.0);
  };
  if (!positive(command.speed)) throw Error("gripper speed must be a positive number of m/s");
  if (!positive(command.force)) throw Error("gripper force must be a positive number of N");
  return enqueue(command);
}

std::uint64_t GripperWorker::enqueue(const GripperCommand& command) {
  std::uint64_t number = 0;
  {
    const std::scoped_lock lock(mutex_);
    number = ++number_;
    asked_opening_.reset();
    if (!status_.connected) {
      status_.done = number;
      return number;  // status_.failure says why
    }
    if (pending_) status_.done = pending_->number;  // replaced before it began
    pending_ = Pending{command, number};
    status_.moving = true;
    status_.failure.clear();
  }
  wake_.notify_all();
  return number;
}

GripperStatus GripperWorker::status() const {
  const std::scoped_lock lock(mutex_);
  return status_;
}

void GripperWorker::run() {
  auto pause = kPollInterval;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, pause, [this] { return stop_ || pending_.has_value(); });
      if (stop_) break;
    }
    try {
      const bool connected = status().connected;
      pause = connected ? kPollInterval
                        : std::chrono::duration_cast<decltype(pause)>(kReconnectInterval);
      if (!connected) {
        hardware_->connect();
        look();
        pause = kPollInterval;
      } else {
        take_command();
        look();
      }
    } catch (const Error& error) {
      lose(error.what());
      pause = std::chrono::duration_cast<decltype(pause)>(kReconnectInterval);
    }
  }
  try {
    if (status().moving) hardware_->begin({.kind = GripperCommand::Kind::kStop});
  } catch (const Error&) {  // it is gone
  }
  hardware_->disconnect();
}

void GripperWorker::take_command() {
  std::optional<Pending> pending;
  {
    const std::scoped_lock lock(mutex_);
    pending.swap(pending_);
  }
  if (!pending) return;
  begun_ = pending->number;
  hardware_->begin(pending->command);
}

void GripperWorker::look() {
  const GripperReport report = hardware_->poll();
  max_width_ = report.max_width > 0.0 ? report.max_width : config_.max_width;
  const double opening = std::clamp(report.width / max_width(), 0.0, 1.0);
  opening_ = opening;
  bool first = false;
  {
    const std::scoped_lock lock(mutex_);
    if (!status_.connected) {
      std::fprintf(stderr, "[control] the gripper is connected\n");
      status_.failure.clear();
      first = !was_connected_;
    }
    was_connected_ = status_.connected = true;
    status_.width = report.width;
    status_.opening = opening;
    status_.grasped = report.grasped;
    status_.moving = report.moving || pending_.has_value() || (first && config_.activate);
    if (!report.moving) status_.done = std::max(status_.done, begun_);
    if (!pending_) status_.failure = report.failure;
    if (!report.failure.empty()) asked_opening_.reset();
  }
  if (first && config_.activate) enqueue({.kind = GripperCommand::Kind::kActivate});
}

void GripperWorker::lose(const std::string& why) {
  hardware_->disconnect();
  const std::scoped_lock lock(mutex_);
  if (status_.failure != why) std::fprintf(stderr, "[control] warning: %s\n", why.c_str());
  status_.connected = status_.moving = false;
  status_.failure = why;
  status_.done = number_;
  pending_.reset();
  asked_opening_.reset();
}

}  // namespace serl_rt
