// Where the arm's tool is, and how the joints move it. An arm with a spherical shoulder, an elbow
// and a spherical wrist: its axes are z y z -y z y z when it stands upright.
#pragma once

#include <array>

#include "core/types.hpp"

namespace own_arm {

struct Kinematics {
  serl_rt::Pose tcp;           // base frame
  serl_rt::Jacobian jacobian;  // of the tool centre point, base frame
};

inline Kinematics kinematics(const serl_rt::Vec7& q) noexcept {
  struct Joint {
    double above;  // [m] the joint before, along the link
    serl_rt::Vec3 axis;
  };
  const serl_rt::Vec3 z = serl_rt::Vec3::UnitZ();
  const serl_rt::Vec3 y = serl_rt::Vec3::UnitY();
  const std::array<Joint, serl_rt::kJoints> joints{
      {{0.16, z}, {0.18, y}, {0.20, z}, {0.20, -y}, {0.20, z}, {0.20, y}, {0.0, z}}};
  constexpr double kTool = 0.15;  // [m] above the last joint

  Eigen::Isometry3d frame = Eigen::Isometry3d::Identity();
  std::array<serl_rt::Vec3, serl_rt::kJoints> axis;
  std::array<serl_rt::Vec3, serl_rt::kJoints> origin;
  for (std::size_t i = 0; i < joints.size(); ++i) {
    frame.translate(serl_rt::Vec3(0.0, 0.0, joints[i].above));
    origin[i] = frame.translation();
    axis[i] = frame.linear() * joints[i].axis;
    frame.rotate(Eigen::AngleAxisd(q[static_cast<Eigen::Index>(i)], joints[i].axis));
  }
  frame.translate(serl_rt::Vec3(0.0, 0.0, kTool));

  Kinematics result;
  result.tcp = {frame.translation(), serl_rt::Quat(frame.linear())};
  for (std::size_t i = 0; i < joints.size(); ++i) {
    result.jacobian.col(static_cast<Eigen::Index>(i))
        << axis[i].cross(frame.translation() - origin[i]),
        axis[i];
  }
  return result;
}

}  // namespace own_arm
