#include <doctest/doctest.h>

#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <limits>

#include "arm_model.hpp"
#include "core/impedance.hpp"

using namespace serl_rt;
using test::Random;
using test::state_at;

namespace {

// A random rotation and translation away from `pose`.
Pose near(const Pose& pose, Random& random, double distance, double angle) {
  return {pose.position + random.vector<Vec3>(-distance, distance),
          random.rotation(angle) * pose.orientation};
}

CartesianGains random_gains(Random& random) {
  CartesianGains gains;
  for (const GainField& field : kGainFields) {
    if (field.scalar != nullptr) {
      gains.*field.scalar = random.uniform(field.low, field.high);
    } else {
      gains.*field.axes = random.vector<Vec3>(field.low, field.high);
    }
  }
  return gains;
}

// SERL's controller update, written with matrices and an SVD.
Vec7 serl_torque(const State& state, const Pose& desired, const Vec7& posture,
                 const CartesianGains& gains, Vec6& integral) {
  const Vec3 position = state.O_T_EE.position - desired.position;
  Quat q = state.O_T_EE.orientation;
  if (desired.orientation.coeffs().dot(q.coeffs()) < 0.0) q.coeffs() *= -1.0;
  const Quat difference = q.inverse() * desired.orientation;
  const Vec3 rotation =
      -(q.toRotationMatrix() * Vec3(difference.x(), difference.y(), difference.z()));
  Vec6 error;
  for (int i = 0; i < 3; ++i) {
    error[i] = std::min(std::max(position[i], -gains.translational_clip_neg[i]),
                        gains.translational_clip[i]);
    error[3 + i] =
        std::min(std::max(rotation[i], -gains.rotational_clip_neg[i]), gains.rotational_clip[i]);
    integral[i] = std::min(std::max(integral[i] + error[i], -0.1), 0.1);
    integral[3 + i] = std::min(std::max(integral[3 + i] + error[3 + i], -0.3), 0.3);
  }

  using Mat6 = Eigen::Matrix<double, 6, 6>;
  const auto diagonal = [](double translational, double rotational) {
    Mat6 matrix = Mat6::Zero();
    matrix.topLeftCorner<3, 3>() = translational * Eigen::Matrix3d::Identity();
    matrix.bottomRightCorner<3, 3>() = rotational * Eigen::Matrix3d::Identity();
    return matrix;
  };
  const Mat6 K = diagonal(gains.translational_stiffness, gains.rotational_stiffness);
  const Mat6 D = diagonal(gains.translational_damping, gains.rotational_damping);
  const Mat6 Ki = diagonal(gains.translational_Ki, gains.rotational_Ki);
  const Jacobian& J = state.zero_jacobian;

  const Eigen::MatrixXd J_T = J.transpose();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(J_T, Eigen::ComputeFullU | Eigen::ComputeFullV);
  Eigen::MatrixXd inverse_values = Eigen::MatrixXd::Zero(6, 7);
  for (int i = 0; i < 6; ++i) {
    const double s = svd.singularValues()[i];
    inverse_values(i, i) = s / (s * s + 0.2 * 0.2);
  }
  const Eigen::MatrixXd J_T_pinv = svd.matrixV() * inverse_values * svd.matrixU().transpose();

  Vec7 q_error = posture - state.q;
  Vec7 dq_error = state.dq;
  q_error[0] *= gains.joint1_nullspace_stiffness;
  dq_error[0] *= 2.0 * std::sqrt(gains.joint1_nullspace_stiffness);
  const Vec7 tau_task = J_T * (-K * error - D * (J * state.dq) - Ki * integral);
  // SERL has no cap on the posture's torque.
  const Vec7 cap{20.0, 20.0, 20.0, 20.0, 5.0, 5.0, 5.0};
  const Vec7 pull =
      gains.nullspace_stiffness * q_error - 2.0 * std::sqrt(gains.nullspace_stiffness) * dq_error;
  const Vec7 tau_nullspace =
      (Eigen::MatrixXd::Identity(7, 7) - J_T * J_T_pinv) * pull.cwiseMax(-cap).cwiseMin(cap);
  return tau_task + tau_nullspace + state.coriolis;
}

// Energy stored in the springs of the law while the rotational error is not clipped: a quadratic
// that goes on linearly beyond the clip, and 2 K (1 - cos(angle/2)) for the vector part of a
// quaternion.
double spring_energy(const Pose& pose, const Pose& desired, const CartesianGains& gains) {
  double energy = 0.0;
  const Vec3 error = pose.position - desired.position;
  for (int i = 0; i < 3; ++i) {
    const double clip =
        error[i] > 0.0 ? gains.translational_clip[i] : gains.translational_clip_neg[i];
    const double inside = std::min(std::abs(error[i]), clip);
    energy += gains.translational_stiffness *
              (0.5 * inside * inside + clip * (std::abs(error[i]) - inside));
  }
  const double w = std::abs((pose.orientation.conjugate() * desired.orientation).w());
  return energy + 2.0 * gains.rotational_stiffness * (1.0 - w);
}

Vec7 task_torque(const State& state, const Pose& desired, CartesianGains gains) {
  gains.nullspace_stiffness = 0.0;
  ErrorIntegral integral;
  return cartesian_impedance(state, desired, state.q, gains, integral);
}

}  // namespace

TEST_CASE(
    "but for a cap on the posture, the law equals SERL's on random states, gains and sequences of "
    "ticks") {
  Random random(11);
  for (int i = 0; i < 500; ++i) {
    const CartesianGains gains = random_gains(random);
    const Vec7 posture = random.configuration();
    const Pose desired = near(state_at(random.configuration()).O_T_EE, random, 0.05, 0.5);
    ErrorIntegral integral;
    Vec6 serl_integral = Vec6::Zero();
    for (int tick = 0; tick < 20; ++tick) {
      State state = random.state();
      if (tick % 2 == 1) state.O_T_EE = near(desired, random, 0.02, 0.05);  // often not clipped
      const Vec7 tau = cartesian_impedance(state, desired, posture, gains, integral);
      const Vec7 serl = serl_torque(state, desired, posture, gains, serl_integral);
      REQUIRE((tau - serl).cwiseAbs().maxCoeff() < 1e-9);
    }
  }
}

TEST_CASE("at rest at its target and posture the law asks for the Coriolis torque only") {
  Random random(12);
  State state = random.state();
  state.dq.setZero();
  ErrorIntegral integral;
  const Vec7 tau = cartesian_impedance(state, state.O_T_EE, state.q, CartesianGains{}, integral);
  CHECK((tau - state.coriolis).norm() < 1e-12);
}

TEST_CASE(
    "the error is zero at the target, does not see a quaternion's sign, and is half the angle") {
  Random random(13);
  for (int i = 0; i < 200; ++i) {
    const Pose desired{random.vector<Vec3>(-1.0, 1.0), random.rotation()};
    CHECK(pose_error(desired, desired).norm() < 1e-12);
    const Vec3 rotation = random.vector<Vec3>(-1e-3, 1e-3);
    const Quat turn(Eigen::AngleAxisd(rotation.norm(), rotation.normalized()));
    Pose measured = desired;
    measured.orientation = turn * desired.orientation;
    CHECK((pose_error(measured, desired).tail<3>() - 0.5 * rotation).norm() < 1e-9);
    Pose negated = measured;
    negated.orientation.coeffs() *= -1.0;
    CHECK((pose_error(negated, desired) - pose_error(measured, desired)).norm() < 1e-12);
  }
}

// With E = R R_d^T as the quaternion (eta, eps): d eps = 1/2 (eta omega + omega x eps) dt.
TEST_CASE("the rotation error changes with the angular velocity as its Jacobian says") {
  Random random(14);
  constexpr double kStep = 1e-6;
  for (int i = 0; i < 200; ++i) {
    const Pose desired{Vec3::Zero(), random.rotation()};
    Pose measured = desired;
    measured.orientation = random.rotation(2.5) * desired.orientation;
    const Vec3 eps = pose_error(measured, desired).tail<3>();
    const double eta = std::sqrt(1.0 - eps.squaredNorm());
    const Vec3 omega = random.vector<Vec3>(-1.0, 1.0);
    const auto error_after = [&](double time) {
      Pose moved = measured;
      moved.orientation =
          Quat(Eigen::AngleAxisd(time * omega.norm(), omega.normalized())) * measured.orientation;
      return Vec3(pose_error(moved, desired).tail<3>());
    };
    const Vec3 numeric = (error_after(kStep) - error_after(-kStep)) / (2.0 * kStep);
    const Vec3 analytic = 0.5 * (eta * omega + omega.cross(eps));
    REQUIRE((numeric - analytic).norm() < 1e-7);
  }
}

TEST_CASE("the arm model's Jacobian is the derivative of its pose") {
  Random random(15);
  constexpr double kStep = 1e-6;
  for (int i = 0; i < 50; ++i) {
    const State state = random.state();
    const Pose ahead = test::kinematics(state.q + kStep * state.dq).tcp;
    const Pose behind = test::kinematics(state.q - kStep * state.dq).tcp;
    // The error counts half the angle.
    Vec6 numeric = pose_error(ahead, behind) / (2.0 * kStep);
    numeric.tail<3>() *= 2.0;
    REQUIRE((numeric - tcp_twist(state)).norm() < 1e-6);
  }
}

TEST_CASE("the law's power is the springs' plus the dampers' loss") {
  Random random(16);
  constexpr double kStep = 1e-7;
  for (int i = 0; i < 300; ++i) {
    CartesianGains gains;
    gains.rotational_clip.setConstant(0.1);
    gains.rotational_clip_neg.setConstant(0.1);
    State state = random.state();
    state.coriolis.setZero();
    const Pose desired = near(state.O_T_EE, random, 0.03, 0.15);
    const double power = state.dq.dot(task_torque(state, desired, gains));

    const auto energy_after = [&](double time) {
      return spring_energy(test::kinematics(state.q + time * state.dq).tcp, desired, gains);
    };
    const double spring_power = (energy_after(kStep) - energy_after(-kStep)) / (2.0 * kStep);
    const Vec6 twist = tcp_twist(state);
    const double loss = gains.translational_damping * twist.head<3>().squaredNorm() +
                        gains.rotational_damping * twist.tail<3>().squaredNorm();
    REQUIRE(power + spring_power == doctest::Approx(-loss).epsilon(1e-5));
    REQUIRE(power + spring_power <= 0.0);
  }
}

TEST_CASE("a moving arm only loses energy at a target that rests") {
  Random random(17);
  constexpr double kStep = 1e-5;  // [s] fine, so that integrating adds next to nothing
  for (int run = 0; run < 5; ++run) {
    CartesianGains gains;
    gains.nullspace_stiffness = 0.0;
    test::Arm arm(random.configuration());
    const Pose desired = near(arm.state().O_T_EE, random, 0.03, 0.05);
    arm.set_velocity(random.vector<Vec7>(-0.2, 0.2));
    const auto storage = [&] {
      const State state = arm.state();
      const double kinetic = 0.5 * state.dq.dot(arm.inertia().cwiseProduct(state.dq));
      return kinetic + spring_energy(state.O_T_EE, desired, gains);
    };
    const double first = storage();
    double last = first;
    for (int i = 0; i < 20'000; ++i) {
      arm.step(task_torque(arm.state(), desired, gains), kStep);
      const double now = storage();
      REQUIRE(now <= last + 1e-6 * first);
      last = now;
    }
    CHECK(last < first);
  }
}

TEST_CASE("a contact force is at most stiffness times clip, and reaches it") {
  Random random(18);
  for (int i = 0; i < 200; ++i) {
    CartesianGains gains = random_gains(random);
    gains.translational_Ki = gains.rotational_Ki = 0.0;
    State state = random.state();
    state.dq.setZero();
    state.coriolis.setZero();
    const Pose desired = near(state.O_T_EE, random, 0.3, 1.0);  // the arm is blocked that far away
    const Jacobian& J = state.zero_jacobian;
    const Vec6 force = (J * J.transpose()).ldlt().solve(J * task_torque(state, desired, gains));
    const Vec6 error = pose_error(state.O_T_EE, desired);
    for (int axis = 0; axis < 3; ++axis) {
      const double clip =
          error[axis] > 0.0 ? gains.translational_clip[axis] : gains.translational_clip_neg[axis];
      const double bound = gains.translational_stiffness * clip;
      REQUIRE(std::abs(force[axis]) <= bound * (1.0 + 1e-6) + 1e-6);
      if (std::abs(error[axis]) > clip) {
        REQUIRE(std::abs(force[axis]) == doctest::Approx(bound).epsilon(1e-5));
        REQUIRE(force[axis] * error[axis] <= 0.0);  // towards the target
      }
    }
  }
}

TEST_CASE("the error integral is clamped and returns to zero") {
  ErrorIntegral integral;
  for (int i = 0; i < 1000; ++i) integral.add(Vec6::Constant(0.01));
  CHECK((integral.value().head<3>().array() == 0.1).all());
  CHECK((integral.value().tail<3>().array() == 0.3).all());
  for (int i = 0; i < 1000; ++i) integral.add(Vec6::Constant(-0.01));
  CHECK((integral.value().head<3>().array() == -0.1).all());
  CHECK((integral.value().tail<3>().array() == -0.3).all());
  integral.reset();
  CHECK(integral.value() == Vec6::Zero());
}

TEST_CASE("without damping of the inverse the posture does not accelerate the end effector") {
  Random random(19);
  for (int i = 0; i < 200; ++i) {
    const State state = random.state();
    const Vec7 tau = random.vector<Vec7>(-10.0, 10.0);
    const Vec7 inside = project_to_nullspace(state.zero_jacobian, tau, 1e-5);
    REQUIRE((state.zero_jacobian * inside).norm() < 1e-6 * tau.norm());
    // Projecting twice changes nothing more.
    REQUIRE((project_to_nullspace(state.zero_jacobian, inside, 1e-5) - inside).norm() < 1e-6);
  }
}

TEST_CASE("the posture's damper only takes energy, and damped projection stays bounded anywhere") {
  Random random(20);
  for (int i = 0; i < 200; ++i) {
    const State state = random.state();
    const Vec7 projected = project_to_nullspace(state.zero_jacobian, -state.dq);
    REQUIRE(state.dq.dot(projected) <= 0.0);
    REQUIRE(projected.norm() <= state.dq.norm() * (1.0 + 1e-12));
  }
  const Vec7 tau = Vec7::Constant(3.0);
  CHECK(project_to_nullspace(Jacobian::Zero(), tau) == tau);  // as singular as it gets
}

TEST_CASE("joint impedance pulls to its target with a bounded torque and damps relative velocity") {
  Random random(21);
  const JointGains gains;
  for (int i = 0; i < 200; ++i) {
    const State state = random.state();
    const Vec7 goal = state.q + random.vector<Vec7>(-1.0, 1.0);
    const Vec7 tau = joint_impedance(state, goal, state.dq, gains) - state.coriolis;
    REQUIRE((tau.array() * (goal - state.q).array() >= 0.0).all());
    REQUIRE((tau.cwiseAbs().array() <= gains.clip * gains.stiffness.array() + 1e-9).all());
    const Vec7 damping = joint_impedance(state, state.q, Vec7::Zero(), gains) - state.coriolis;
    REQUIRE((damping + gains.damping.cwiseProduct(state.dq)).norm() < 1e-9);
  }
}

TEST_CASE("the defaults are in range; each parameter outside is named with value and range") {
  CHECK(validate(CartesianGains{}).empty());
  CHECK(within_ranges(CartesianGains{}));
  CHECK(validate(JointGains{}).empty());

  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const GainField& field : kGainFields) {
    for (const double bad : {field.low - 0.001, field.high + 0.001, kNan}) {
      for (int axis = 0; axis < (field.axes != nullptr ? 3 : 1); ++axis) {
        CartesianGains gains;
        (field.axes != nullptr ? (gains.*field.axes)[axis] : gains.*field.scalar) = bad;
        const std::string problem = validate(gains);
        CHECK(problem.find(field.name) == 0);
        CHECK(problem.find("is outside") != std::string::npos);
        CHECK_FALSE(within_ranges(gains));
      }
    }
  }
  CartesianGains gains;
  gains.translational_clip[1] = 0.5;
  CHECK(validate(gains) == "translational_clip[1] = 0.5 is outside [0, 0.1]");
}
