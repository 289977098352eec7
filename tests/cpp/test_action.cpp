#include <doctest/doctest.h>

#include <array>
#include <limits>

#include "drivers/random.hpp"
#include "policy/action.hpp"
#include "policy_support.hpp"

using namespace serl_rt;

namespace {

Contract contract_of(const ActionField& motion) {
  Contract contract = test::golden_contract();
  contract.action = {motion};
  return contract;
}

Contract gripper_contract(const std::string& kind) {
  Contract contract = test::golden_contract();
  ActionField& gripper = contract.action[1];
  gripper.kind = kind;
  if (kind != "binary") gripper.threshold.reset();
  if (kind == "continuous_delta") gripper.scale = {0.25};
  return contract;
}

ActionField tcp_delta(int size, const std::string& frame, const std::string& anchor) {
  ActionField field;
  field.name = "tcp_delta";
  field.shape = {size};
  field.frame = frame;
  field.anchor = anchor;
  field.scale.assign(static_cast<std::size_t>(size), 0.05);
  for (std::size_t i = 3; i < field.scale.size(); ++i) field.scale[i] = 0.2;
  return field;
}

State start_state() {
  State state;
  state.q << 0.0, -0.27, 0.0, -2.43, 0.0, 2.16, 0.78;
  state.O_T_EE.position << 0.5, 0.0, 0.25;
  state.O_T_EE.orientation = Quat(0.0, 1.0, 0.0, 0.0);  // tool down: y and z point backwards
  return state;
}

void check_near(const Vec3& found, const Vec3& expected) {
  CHECK((found - expected).norm() < 1e-7);
}

}  // namespace

TEST_CASE("a step in the base frame starts at the measured position") {
  const ActionField field = tcp_delta(3, "base", "measured");
  ActionMapper mapper(contract_of(field));
  State state = start_state();
  mapper.reset(state);
  state.O_T_EE.position << 0.55, 0.05, 0.30;
  state.O_T_EE.orientation = Quat(Eigen::AngleAxisd(0.1, Vec3::UnitX())) * Quat(0, 1, 0, 0);
  const std::array<float, 3> action = {1.0F, -0.5F, 0.0F};
  const MappedAction mapped = mapper.map(action, state, 1.0);
  REQUIRE(!mapped.fault);
  CHECK(mapped.target.mode == Mode::kCartesianImpedance);
  check_near(mapped.target.pose.position, {0.60, 0.025, 0.30});
  // Without a rotation in the action, the tool stays as it was at the episode's start.
  CHECK(mapped.target.pose.orientation.angularDistance(Quat(0, 1, 0, 0)) < 1e-9);
  CHECK(mapped.gripper_command == 1.0);
}

TEST_CASE("a step in the tool's frame turns with the tool") {
  ActionMapper mapper(contract_of(tcp_delta(3, "tool", "measured")));
  const State state = start_state();
  mapper.reset(state);
  const std::array<float, 3> action = {1.0F, 1.0F, 1.0F};
  check_near(mapper.map(action, state, 1.0).target.pose.position, {0.55, -0.05, 0.20});
}

TEST_CASE("anchored at the target, steps add up while the arm stands still") {
  ActionMapper mapper(contract_of(tcp_delta(3, "base", "target")));
  const State state = start_state();
  mapper.reset(state);
  const std::array<float, 3> action = {0.5F, 0.0F, 0.0F};
  check_near(mapper.map(action, state, 1.0).target.pose.position, {0.525, 0.0, 0.25});
  check_near(mapper.map(action, state, 1.0).target.pose.position, {0.550, 0.0, 0.25});
  mapper.reset(state);
  check_near(mapper.map(action, state, 1.0).target.pose.position, {0.525, 0.0, 0.25});
}

TEST_CASE("a rotation vector turns about the base's or the tool's axes") {
  const std::array<float, 6> action = {0.0F, 0.0F, 0.0F, 0.0F, 1.0F, 0.0F};
  const State state = start_state();
  for (const std::string frame : {"base", "tool"}) {
    ActionMapper mapper(contract_of(tcp_delta(6, frame, "measured")));
    mapper.reset(state);
    const Quat found = mapper.map(action, state, 1.0).target.pose.orientation;
    const Quat turn(Eigen::AngleAxisd(0.2, Vec3::UnitY()));
    const Quat start = state.O_T_EE.orientation;
    CHECK(found.angularDistance(frame == "base" ? turn * start : start * turn) < 1e-9);
    CHECK(found.norm() == doctest::Approx(1.0));
  }
}

TEST_CASE("whatever the action, the position stays in the workspace") {
  const Contract contract = contract_of(tcp_delta(6, "tool", "target"));
  ActionMapper mapper(contract);
  const State state = start_state();
  mapper.reset(state);
  Random random(3);
  for (int i = 0; i < 2000; ++i) {
    std::array<float, 6> action;
    for (float& component : action) {
      component = static_cast<float>(random.uniform(-1.0, 1.0) > 0.2 ? 1.0 : -1.0);
    }
    const MappedAction mapped = mapper.map(action, state, 1.0);
    REQUIRE(!mapped.fault);
    for (int axis = 0; axis < 3; ++axis) {
      const auto k = static_cast<std::size_t>(axis);
      CHECK(mapped.target.pose.position[axis] >= contract.workspace_low[k]);
      CHECK(mapped.target.pose.position[axis] <= contract.workspace_high[k]);
    }
    CHECK(mapped.target.pose.orientation.norm() == doctest::Approx(1.0));
  }
}

TEST_CASE("joint steps are scaled and stay inside the joint limits") {
  ActionField field;
  field.name = "joint_delta";
  field.shape = {7};
  field.anchor = "target";
  field.scale.assign(7, 0.1);
  ActionMapper mapper(contract_of(field));
  const State state = start_state();
  mapper.reset(state);
  std::array<float, 7> action{};
  action[0] = 1.0F;
  action[6] = -0.5F;
  const MappedAction mapped = mapper.map(action, state, 1.0);
  CHECK(mapped.target.mode == Mode::kJointImpedance);
  CHECK(mapped.target.q[0] == doctest::Approx(0.1));
  CHECK(mapped.target.q[6] == doctest::Approx(0.73));
  const RobotLimits limits = fr3_limits();
  for (int i = 0; i < 100; ++i) {
    const Vec7 q = mapper.map(action, state, 1.0).target.q;
    CHECK((q.array() < limits.q_max.array()).all());
    CHECK((q.array() > limits.q_min.array()).all());
  }
}

TEST_CASE("the four kinds of gripper action") {
  const State state = start_state();
  const auto opening = [&](const std::string& kind, float component, double command) {
    ActionMapper mapper(gripper_contract(kind));
    mapper.reset(state);
    const std::array<float, 4> action = {0.0F, 0.0F, 0.0F, component};
    return mapper.map(action, state, command).gripper_command;
  };
  for (const double command : {0.0, 0.4, 1.0}) {
    CHECK(opening("binary", -0.11F, command) == 0.0);
    CHECK(opening("binary", 0.11F, command) == 1.0);
    CHECK(opening("binary", 0.09F, command) == command);
    CHECK(opening("binary", -0.09F, command) == command);
    CHECK(opening("ternary", -1.0F, command) == 0.0);
    CHECK(opening("ternary", 0.0F, command) == command);
    CHECK(opening("ternary", 1.0F, command) == 1.0);
    CHECK(opening("continuous", -1.0F, command) == 0.0);
    CHECK(opening("continuous", 0.5F, command) == doctest::Approx(0.75));
  }
  CHECK(opening("continuous_delta", 1.0F, 0.5) == doctest::Approx(0.75));
  CHECK(opening("continuous_delta", -1.0F, 0.1) == 0.0);
  CHECK(opening("continuous_delta", 1.0F, 0.9) == 1.0);
}

TEST_CASE("an action that is not usable is refused and changes nothing") {
  ActionMapper mapper(gripper_contract("binary"));
  const State state = start_state();
  mapper.reset(state);
  const std::array<float, 4> good = {1.0F, 0.0F, 0.0F, 1.0F};
  const MappedAction before = mapper.map(good, state, 1.0);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const struct {
    float component;
    Fault fault;
  } cases[] = {{nan, Fault::kPolicyNonFinite},
               {infinity, Fault::kPolicyNonFinite},
               {-infinity, Fault::kPolicyNonFinite},
               {1.01F, Fault::kPolicyOutOfRange},
               {-1.01F, Fault::kPolicyOutOfRange}};
  for (const auto& [component, fault] : cases) {
    for (std::size_t place = 0; place < 4; ++place) {
      std::array<float, 4> action = {0.0F, 0.0F, 0.0F, -1.0F};
      action[place] = component;
      const MappedAction refused = mapper.map(action, state, 1.0);
      CHECK(refused.fault == fault);
      CHECK(refused.target.pose.position == before.target.pose.position);
      CHECK(refused.gripper_command == 1.0);
    }
  }
  CHECK(mapper.map(std::span(good).first(3), state, 1.0).fault == Fault::kPolicyOutOfRange);
}

TEST_CASE("rounding beyond 1 is clipped") {
  ActionMapper mapper(contract_of(tcp_delta(3, "base", "measured")));
  const State state = start_state();
  mapper.reset(state);
  const std::array<float, 3> action = {1.00005F, 0.0F, 0.0F};
  const MappedAction mapped = mapper.map(action, state, 1.0);
  REQUIRE(!mapped.fault);
  check_near(mapped.target.pose.position, {0.55, 0.0, 0.25});
}
