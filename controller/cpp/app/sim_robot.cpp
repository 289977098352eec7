#include "app/sim_robot.hpp"

#include "core/error.hpp"

namespace serl_rt {

SimRobot::SimRobot(const TaskConfig& task, const std::filesystem::path& assets_dir)
    : task_(task),
      driver_({assets_dir / task.sim.model, Pacing::kLockstep, task.episode.reset_q}),
      gripper_(driver_),
      controller_(task.controller),
      loop_(driver_, controller_),
      commands_(task_, controller_, gripper_, [this] { return loop_.state(); },
                {[this] {
                   halted_ = true;
                   controller_.request_stop();
                 },
                 [this] { halted_ = false; },
                 [](std::span<const double>, double) {
                   throw Error("no policy acts here that an action could replace");
                 }}),
      specs_(commands_.commands()) {
  controller_.set_in_charge(Source::kOperator);
  advance(1);  // so that there is a state
}

Value SimRobot::command(const std::string& name, const Value::Map& arguments) {
  for (const CommandSpec& spec : specs_) {
    if (spec.name == name) return spec.run(Arguments(spec.parameters, arguments));
  }
  throw Error("unknown command " + name);
}

void SimRobot::advance(int ticks) {
  for (int i = 0; i < ticks; ++i) {
    if (!loop_.step()) throw Error("the simulation has diverged");
  }
}

Value::Map SimRobot::report() const {
  Value::Map report = controller_report(controller_);
  report.emplace_back("halted", halted_);
  return report;
}

Pose SimRobot::reference() const noexcept {
  const std::array<double, 7> values = controller_.status().reference;
  return {Vec3(values.data()), Quat(values[6], values[3], values[4], values[5])};
}

}  // namespace serl_rt
