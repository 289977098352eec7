#include "app/load_command.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {
namespace {

constexpr double kRounding = 1e-6;  // of the largest entry

RobotLoad load_of(const Arguments& arguments) {
  RobotLoad load;
  load.mass = arguments.number("mass_kg");
  load.centre = Vec3(arguments.numbers("F_x_Cload").data());
  std::ranges::copy(arguments.numbers("load_inertia"), load.inertia.begin());
  if (const std::string problem = load_problem(load); !problem.empty()) throw Error(problem);
  return load;
}

void require_idle(const Controller& controller) {
  if (controller.in_charge() != Source::kOperator) {
    throw Error("a policy moves the arm: pause it and wait until its episode is over, or stop it");
  }
  const ControllerStatus status = controller.status();
  if (status.mode == Mode::kJointMove && status.move_done_sequence != status.target_sequence) {
    throw Error("a joint move is going on: wait until it is done, or stop it");
  }
}

}  // namespace

std::string load_problem(const RobotLoad& load) {
  const Eigen::Map<const Eigen::Matrix3d> inertia(load.inertia.data());
  const double largest = inertia.cwiseAbs().maxCoeff();
  if (load.mass == 0.0 && largest > 0.0) return "load_inertia of a mass of 0 must be 0";
  if ((inertia - inertia.transpose()).cwiseAbs().maxCoeff() > kRounding * largest) {
    return "load_inertia is not symmetric: give the 3x3 matrix about the centre of mass [kg m^2], "
           "column by column";
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::Matrix3d> solver(inertia, Eigen::EigenvaluesOnly);
  const double smallest = solver.eigenvalues().minCoeff();
  if (smallest < -kRounding * largest) {
    return "load_inertia has the principal moment " + std::to_string(smallest) +
           " kg m^2: none of a body is negative";
  }
  return {};
}

Value load_value(const LoadStatus& status) {
  Value load;
  if (status.load) {
    const RobotLoad& now = *status.load;
    load = Value::Map{{"mass_kg", now.mass},
                      {"F_x_Cload", Value::List(now.centre.begin(), now.centre.end())},
                      {"load_inertia", Value::List(now.inertia.begin(), now.inertia.end())}};
  }
  return Value::Map{{"now", std::move(load)},
                    {"asked", status.asked},
                    {"done", status.done},
                    {"failure", clean_text(status.failure)}};
}

CommandSpec load_command(RobotConnection& connection, const Controller& controller) {
  return {
      "set_load",
      "begin to tell the robot what it carries: the arm brakes, its control begins anew, stopped",
      {Parameter::number("mass_kg", 0.0, kMaxLoadMass),
       Parameter::numbers("F_x_Cload", 3, -kMaxLoadCentre, kMaxLoadCentre),
       Parameter::numbers("load_inertia", 9, -kMaxLoadInertia, kMaxLoadInertia)},
      [&connection, &controller](const Arguments& arguments) -> Value {
        const RobotLoad load = load_of(arguments);
        require_idle(controller);
        return connection.change_load(load);
      }};
}

}  // namespace serl_rt
