#include "drivers/sim_tasks.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/error.hpp"
#include "drivers/random.hpp"

namespace serl_rt {
namespace {

void copy_to(const Vec3& value, std::span<float> out) noexcept {
  Eigen::Map<Eigen::Vector3f>(out.data()) = value.cast<float>();
}

// Dense reward: at most 1 per step; less than 0.3 of it for being at the cube, the rest for
// lifting.
class PickCube final : public Task {
 public:
  PickCube(const SimTaskConfig& config, SimDriver& driver)
      : config_(config), driver_(driver), cube_(driver.find_object("cube")) {}

  void reset(std::uint64_t seed) override {
    Random random(seed);
    Pose pose;
    for (int i = 0; i < 2; ++i) {
      pose.position[i] = random.uniform(config_.cube_low[i], config_.cube_high[i]);
    }
    pose.position.z() = kHalfCube;
    driver_.return_to_start();
    driver_.place_object(cube_, pose);
    snapshot();
  }

  const std::vector<TaskField>& fields() const noexcept override { return fields_; }

  void snapshot() noexcept override { position_ = driver_.scene().position(cube_); }

  void observe(std::size_t field, const State& state,
               std::span<float> out) const noexcept override {
    copy_to(field == 0 ? position_ : position_ - state.O_T_EE.position, out);
  }

  Outcome evaluate(const State& state) const noexcept override {
    const double distance = (position_ - state.O_T_EE.position).norm();
    const double lift = position_.z() - kHalfCube;
    Outcome outcome;
    outcome.success = lift >= config_.lift_height && distance <= kHeldDistance;
    outcome.reward = config_.sparse_reward
                         ? static_cast<double>(outcome.success)
                         : 0.3 * std::exp(-20.0 * distance) +
                               0.7 * std::clamp(lift / config_.lift_height, 0.0, 1.0);
    return outcome;
  }

 private:
  static constexpr double kHalfCube = 0.02;      // [m] height of the centre on the table
  static constexpr double kHeldDistance = 0.05;  // [m] from the tool centre point: not thrown

  SimTaskConfig config_;
  SimDriver& driver_;
  FreeBody cube_;
  std::vector<TaskField> fields_{{"cube_position", 3}, {"tcp_to_cube", 3}};
  Vec3 position_ = Vec3::Zero();
};

class Reach final : public Task {
 public:
  Reach(const SimTaskConfig& config, SimDriver& driver) : config_(config), driver_(driver) {}

  void reset(std::uint64_t seed) override {
    Random random(seed);
    driver_.return_to_start();
    for (int i = 0; i < 3; ++i) {
      goal_[i] = random.uniform(config_.goal_low[i], config_.goal_high[i]);
    }
  }

  const std::vector<TaskField>& fields() const noexcept override { return fields_; }

  void snapshot() noexcept override {}

  void observe(std::size_t field, const State& state,
               std::span<float> out) const noexcept override {
    copy_to(field == 0 ? goal_ : goal_ - state.O_T_EE.position, out);
  }

  Outcome evaluate(const State& state) const noexcept override {
    const double distance = (goal_ - state.O_T_EE.position).norm();
    Outcome outcome;
    outcome.success = distance < config_.goal_tolerance;
    outcome.reward = static_cast<double>(outcome.success);
    if (!config_.sparse_reward) outcome.reward -= 5.0 * distance;
    return outcome;
  }

 private:
  SimTaskConfig config_;
  SimDriver& driver_;
  std::vector<TaskField> fields_{{"goal_position", 3}, {"tcp_to_goal", 3}};
  Vec3 goal_ = Vec3::Zero();
};

// Dense reward: at most 1 per step; less than 0.3 of it for the peg's tip being at the hole, the
// rest for depth.
class PegInsert final : public Task {
 public:
  PegInsert(const SimTaskConfig& config, SimDriver& driver)
      : config_(config),
        driver_(driver),
        peg_(driver.find_object("peg")),
        socket_(driver.find_object("socket")) {}

  void reset(std::uint64_t seed) override {
    Random random(seed);
    Pose pose;
    for (int i = 0; i < 2; ++i) {
      pose.position[i] = random.uniform(config_.hole_low[i], config_.hole_high[i]);
    }
    pose.position.z() = 0.0;
    driver_.return_to_start();
    driver_.return_held(peg_, {0.0, 0.0, kPegBelowTcp});
    driver_.place_object(socket_, pose);
    snapshot();
  }

  const std::vector<TaskField>& fields() const noexcept override { return fields_; }

  void snapshot() noexcept override {
    const Scene& scene = driver_.scene();
    tip_ = scene.position(peg_) + scene.orientation(peg_) * Vec3(0.0, 0.0, kHalfPeg);
    hole_ = scene.position(socket_) + scene.orientation(socket_) * Vec3(0.0, 0.0, kRimHeight);
  }

  void observe(std::size_t field, const State&, std::span<float> out) const noexcept override {
    copy_to(field == 0 ? hole_ : hole_ - tip_, out);
  }

  Outcome evaluate(const State&) const noexcept override {
    const double aside = (tip_ - hole_).head<2>().norm();
    const double depth = aside < kInHole ? std::max(0.0, hole_.z() - tip_.z()) : 0.0;
    const double distance = depth > 0.0 ? aside : (tip_ - hole_).norm();
    Outcome outcome;
    outcome.success = depth >= config_.insertion_depth;
    outcome.reward = config_.sparse_reward
                         ? static_cast<double>(outcome.success)
                         : 0.3 * std::exp(-20.0 * distance) +
                               0.7 * std::clamp(depth / config_.insertion_depth, 0.0, 1.0);
    return outcome;
  }

 private:
  // The model's (peg_insert.xml) [m].
  static constexpr double kPegBelowTcp = 0.03;  // its centre
  static constexpr double kHalfPeg = 0.04;
  static constexpr double kRimHeight = 0.05;
  static constexpr double kInHole = 0.005;  // tip nearer to the hole's axis than this

  SimTaskConfig config_;
  SimDriver& driver_;
  FreeBody peg_;
  FreeBody socket_;
  std::vector<TaskField> fields_{{"hole_position", 3}, {"tip_to_hole", 3}};
  Vec3 tip_ = Vec3::Zero();
  Vec3 hole_ = Vec3::Zero();
};

template <class Range>
std::string check_range(const std::string& name, const Range& low, const Range& high) {
  for (int i = 0; i < static_cast<int>(low.size()); ++i) {
    if (low[i] <= high[i] && std::isfinite(low[i]) && std::isfinite(high[i])) continue;
    std::ostringstream fault;
    fault << name << "_low[" << i << "] = " << low[i] << " must be finite and at most " << name
          << "_high[" << i << "] = " << high[i];
    return fault.str();
  }
  return "";
}

std::string check_positive(const std::string& name, double value) {
  if (value > 0.0 && std::isfinite(value)) return "";
  return name + " = " + std::to_string(value) + " must be greater than 0 m";
}

}  // namespace

std::string validate(const SimTaskConfig& config) {
  if (config.task != "pick_cube" && config.task != "reach" && config.task != "peg_insert" &&
      !config.task.empty()) {
    return "task = \"" + config.task + "\" must be \"pick_cube\", \"reach\" or \"peg_insert\"";
  }
  for (const std::string& fault : {check_range("cube", config.cube_low, config.cube_high),
                                   check_range("goal", config.goal_low, config.goal_high),
                                   check_range("hole", config.hole_low, config.hole_high),
                                   check_positive("insertion_depth", config.insertion_depth),
                                   check_positive("lift_height", config.lift_height),
                                   check_positive("goal_tolerance", config.goal_tolerance)}) {
    if (!fault.empty()) return fault;
  }
  return "";
}

std::unique_ptr<Task> make_sim_task(const SimTaskConfig& config, SimDriver& driver) {
  if (const std::string fault = validate(config); !fault.empty()) throw Error("sim: " + fault);
  if (config.task == "reach") return std::make_unique<Reach>(config, driver);
  if (config.task == "peg_insert") return std::make_unique<PegInsert>(config, driver);
  return std::make_unique<PickCube>(config, driver);
}

}  // namespace serl_rt
