#include "drivers/robot_config.hpp"

#include <Eigen/Eigenvalues>

namespace serl_rt {
namespace {

constexpr double kRounding = 1e-6;  // of the largest entry

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

}  // namespace serl_rt
