// How long a tick takes: Cartesian impedance with new targets and gains, against the same
// arithmetic done with an SVD as the published controller does. Prints JSON: nanoseconds per tick
// for each batch.
#include <Eigen/SVD>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "arm_model.hpp"
#include "core/controller.hpp"

using namespace serl_rt;

namespace {

constexpr int kTicks = 10'000;  // per batch
constexpr int kBatches = 30;
constexpr int kStates = 64;

using Clock = std::chrono::steady_clock;

// N tau by the damped singular values of J^T: the control for project_to_nullspace().
Vec7 project_by_svd(const Jacobian& jacobian, const Vec7& tau) {
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(jacobian.transpose(),
                                              Eigen::ComputeFullU | Eigen::ComputeFullV);
  Eigen::MatrixXd inverse = Eigen::MatrixXd::Zero(6, 7);
  for (int i = 0; i < 6; ++i) {
    const double s = svd.singularValues()[i];
    inverse(i, i) = s / (s * s + kPseudoInverseDamping * kPseudoInverseDamping);
  }
  const Eigen::MatrixXd pinv = svd.matrixV() * inverse * svd.matrixU().transpose();
  return tau - jacobian.transpose() * (pinv * tau);
}

template <class Body>
std::vector<double> measure(const std::vector<State>& states, Body body) {
  std::vector<double> batches;
  double sink = 0.0;
  for (int batch = -1; batch < kBatches; ++batch) {  // the first one warms up
    const auto begin = Clock::now();
    for (int tick = 0; tick < kTicks; ++tick) sink += body(tick, states[tick % kStates]);
    const std::chrono::duration<double, std::nano> spent = Clock::now() - begin;
    if (batch >= 0) batches.push_back(spent.count() / kTicks);
  }
  if (sink == 0.12345) std::puts("");  // keeps the work from being optimised away
  std::sort(batches.begin(), batches.end());
  return batches;
}

void print(const char* name, const std::vector<double>& batches, const char* end) {
  std::printf("  \"%s\": [", name);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    std::printf("%s%.1f", i == 0 ? "" : ", ", batches[i]);
  }
  std::printf("]%s\n", end);
  std::fprintf(stderr, "%-24s median %7.1f  min %7.1f  max %7.1f ns\n", name,
               batches[batches.size() / 2], batches.front(), batches.back());
}

}  // namespace

int main() {
  test::Random random(1);
  std::vector<State> states;
  for (int i = 0; i < kStates; ++i) {
    states.push_back(test::state_at(test::kHome + random.vector<Vec7>(-0.01, 0.01),
                                    random.vector<Vec7>(-0.1, 0.1)));
  }
  Controller controller{ControllerConfig{}};
  controller.start(states[0]);
  Target target;
  target.mode = Mode::kCartesianImpedance;
  target.pose = states[0].O_T_EE;

  const auto one_tick = [&](int i, const State& state) {
    if (i % 100 == 0) {
      target.pose.position.z() += i % 200 == 0 ? 0.01 : -0.01;
      controller.targets().write(target);
      controller.gains().write(CartesianGains{});
    }
    return controller.tick(state)[0];
  };
  const auto tick = measure(states, one_tick);
  const auto records = std::make_unique<RecordRing>();
  controller.set_record_ring(records.get());
  TickRecord record;
  const auto recorded = measure(states, [&](int i, const State& state) {
    records->try_pop(record);  // by the same thread: its time counts, too
    return one_tick(i, state);
  });
  controller.set_record_ring(nullptr);
  ErrorIntegral integral;
  const auto law = measure(states, [&](int, const State& state) {
    return cartesian_impedance(state, target.pose, test::kHome, CartesianGains{}, integral)[0];
  });
  const auto nullspace = measure(states, [&](int, const State& state) {
    return project_to_nullspace(state.zero_jacobian, state.dq)[0];
  });
  const auto nullspace_svd = measure(states, [&](int, const State& state) {
    return project_by_svd(state.zero_jacobian, state.dq)[0];
  });

  std::printf("{\n");
  print("tick_ns", tick, ",");
  print("tick_recorded_ns", recorded, ",");
  print("law_ns", law, ",");
  print("nullspace_ns", nullspace, ",");
  print("nullspace_svd_ns", nullspace_svd, "");
  std::printf("}\n");
  return 0;
}
