#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "policy/observation.hpp"
#include "policy_support.hpp"

using namespace serl_rt;

namespace {

// A task with two fields of its own.
class TwoFields : public Task {
 public:
  void reset(std::uint64_t) override {}
  const std::vector<TaskField>& fields() const noexcept override { return fields_; }
  void observe(std::size_t field, const State& state,
               std::span<float> out) const noexcept override {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<float>(100 * (field + 1) + i) + static_cast<float>(state.q[0]);
    }
  }
  void snapshot() noexcept override {}
  Outcome evaluate(const State&) const noexcept override { return {}; }

 private:
  std::vector<TaskField> fields_ = {{"cube_position", 3}, {"goal_position", 3}};
};

Contract contract_of(const std::vector<ObservationField>& fields) {
  Contract contract = test::golden_contract();
  contract.observation = fields;
  return contract;
}

ObservationField field(const std::string& name, int size, const std::string& frame = "") {
  return {.name = name, .shape = {size}, .unit = "1", .frame = frame, .low = {}, .high = {}};
}

State some_state() {
  State state;
  state.q << 0.1, 0.2, 0.3, -1.4, 0.5, 1.6, 0.7;
  state.dq << 1, 2, 3, 4, 5, 6, 7;
  state.tau_J << -1, -2, -3, -4, -5, -6, -7;
  state.O_T_EE.position << 0.5, -0.1, 0.3;
  // A quarter turn about z: the tool's x axis is the base's y axis.
  state.O_T_EE.orientation = Eigen::AngleAxisd(std::numbers::pi / 2, Vec3::UnitZ());
  state.zero_jacobian.setZero();
  for (int i = 0; i < 6; ++i) state.zero_jacobian(i, i) = 1.0;  // twist: 1 2 3 4 5 6
  state.O_F_ext << 10, 20, 30, 40, 50, 60;
  return state;
}

std::vector<float> observe(const ObservationBuilder& builder, const State& state,
                           const Task* task = nullptr) {
  std::vector<float> out(builder.size(), -99.0F);
  builder.build(state, 0.25, 1.0, task, out);
  return out;
}

std::vector<float> observe_one(const ObservationField& wanted, const State& state) {
  ObservationBuilder builder(contract_of({wanted}), {});
  builder.reset(state);
  return observe(builder, state);
}

void check_near(const std::vector<float>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-6));
  }
}

}  // namespace

TEST_CASE("every computed field has its values, in SI units") {
  const State state = some_state();
  const double h = std::sqrt(0.5);
  check_near(observe_one(field("q", 7), state), {0.1, 0.2, 0.3, -1.4, 0.5, 1.6, 0.7});
  check_near(observe_one(field("dq", 7), state), {1, 2, 3, 4, 5, 6, 7});
  check_near(observe_one(field("tau", 7), state), {-1, -2, -3, -4, -5, -6, -7});
  check_near(observe_one(field("tcp_pose", 7, "base"), state), {0.5, -0.1, 0.3, 0, 0, h, h});
  check_near(observe_one(field("tcp_position", 3, "base"), state), {0.5, -0.1, 0.3});
  check_near(observe_one(field("tcp_vel", 6, "base"), state), {1, 2, 3, 4, 5, 6});
  check_near(observe_one(field("tcp_linear_vel", 3, "base"), state), {1, 2, 3});
  check_near(observe_one(field("tcp_force", 3, "base"), state), {10, 20, 30});
  check_near(observe_one(field("tcp_torque", 3, "base"), state), {40, 50, 60});
  check_near(observe_one(field("gripper", 1), state), {0.25});
  check_near(observe_one(field("gripper_command", 1), state), {1.0});
}

TEST_CASE("every name that the contract knows is computed") {
  for (const ComputedField& computed : computed_fields()) {
    const auto values = observe_one(field(std::string(computed.name), computed.size), some_state());
    for (const float value : values) CHECK(value != -99.0F);
  }
}

TEST_CASE("vectors in the tool's frame turn with it") {
  const State state = some_state();  // tool x = base y, tool y = -base x
  check_near(observe_one(field("tcp_vel", 6, "tool"), state), {2, -1, 3, 5, -4, 6});
  check_near(observe_one(field("tcp_linear_vel", 3, "tool"), state), {2, -1, 3});
  check_near(observe_one(field("tcp_force", 3, "tool"), state), {20, -10, 30});
  check_near(observe_one(field("tcp_torque", 3, "tool"), state), {50, -40, 60});
}

TEST_CASE("the relative pose counts from the episode's start, in its axes") {
  State state = some_state();
  ObservationBuilder builder(contract_of({field("tcp_pose_relative", 7, "start")}), {});
  builder.reset(state);
  check_near(observe(builder, state), {0, 0, 0, 0, 0, 0, 1});
  state.O_T_EE.position += Vec3(0.0, 0.2, 0.1);  // base y is the start's x
  state.O_T_EE.orientation = Quat(Eigen::AngleAxisd(0.2, Vec3::UnitZ())) * state.O_T_EE.orientation;
  check_near(observe(builder, state), {0.2, 0, 0.1, 0, 0, std::sin(0.1), std::cos(0.1)});
}

TEST_CASE("a pose does not depend on the quaternion's sign, nor jump where w changes its sign") {
  State state = some_state();
  ObservationBuilder builder(contract_of({field("tcp_pose", 7, "base")}), {});
  const Quat down(0.0, 1.0, 0.0, 0.0);  // tool down: half a turn about x
  for (const double sign : {1.0, -1.0}) {
    state.O_T_EE.orientation = Quat(sign * down.coeffs());
    builder.reset(state);
    for (const double angle : {-0.3, -0.01, 0.01, 0.3}) {  // w is positive, then negative
      state.O_T_EE.orientation =
          Quat(sign * (down * Quat(Eigen::AngleAxisd(angle, Vec3::UnitX()))).coeffs());
      const auto pose = observe(builder, state);
      CHECK(pose[3] == doctest::Approx(std::cos(angle / 2)).epsilon(1e-6));
      CHECK(pose[6] == doctest::Approx(-std::sin(angle / 2)).epsilon(1e-6));
    }
  }
}

TEST_CASE("fields of the task lie where the layout says") {
  const TwoFields task;
  const State state = some_state();
  const ObservationBuilder builder(
      contract_of({field("goal_position", 3), field("gripper", 1), field("cube_position", 3)}),
      task.fields());
  REQUIRE(builder.size() == 7);
  check_near(observe(builder, state, &task), {200.1, 201.1, 202.1, 0.25, 100.1, 101.1, 102.1});
  REQUIRE(builder.layout().size() == 3);
  CHECK(builder.layout()[1].name == "gripper");
  CHECK(builder.layout()[1].offset == 3);
  CHECK(builder.layout()[2].offset == 4);
  CHECK(builder.layout()[2].size == 3);
}

TEST_CASE("what nobody can give is refused with the valid names") {
  const TwoFields task;
  const auto message = [&](const ObservationField& wanted) -> std::string {
    try {
      const ObservationBuilder builder(contract_of({wanted}), task.fields());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string unknown = message(field("cube_pose", 7));
  CHECK(unknown.find("cube_pose") != std::string::npos);
  CHECK(unknown.find("tcp_linear_vel") != std::string::npos);
  CHECK(unknown.find("cube_position") != std::string::npos);
  CHECK(message(field("cube_position", 2)).find("3") != std::string::npos);
}
