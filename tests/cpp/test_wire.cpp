// The wire format: golden bytes, rows and columns.
#include "link/wire.hpp"

#include <doctest/doctest.h>

#include "golden_wire.hpp"
#include "link/operator_wire.hpp"

using namespace serl_rt;

namespace {

const std::string kLearnerId = "fedcba9876543210fedcba9876543210";

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}
const std::string kContractId = repeated("c0", 32);
const std::string kSha256 = repeated("5a", 32);
const std::string kTrunkSha256 = repeated("7b", 32);

template <class Message>
Message decode_up(const std::vector<Bytes>& frames) {
  return std::get<Message>(wire::decode_controller_message(views(frames)));
}

template <class Message>
Message decode_down(const std::vector<Bytes>& frames) {
  return std::get<Message>(wire::decode_learner_message(views(frames)));
}

TransitionLayout golden_layout() { return {{{"q", {7}}, {"cube/corners", {2, 3}}}, 4}; }

// Row i of the golden message: column c, position j holds 100 c + i * size + j, floats / 8, flags
// modulo 2.
Transition golden_transition(std::uint64_t i) {
  const auto number = [&](std::uint64_t column, std::uint64_t size, std::uint64_t j) {
    return 100 * column + i * size + j;
  };
  const auto real = [&](std::uint64_t column, std::uint64_t size, std::uint64_t j) {
    return static_cast<float>(number(column, size, j)) / 8.0F;
  };
  Transition t;
  for (std::uint64_t j = 0; j < 7; ++j) {
    t.observation[j] = real(0, 7, j);
    t.next_observation[j] = real(2, 7, j);
  }
  for (std::uint64_t j = 0; j < 6; ++j) {
    t.observation[7 + j] = real(1, 6, j);
    t.next_observation[7 + j] = real(3, 6, j);
  }
  for (std::uint64_t j = 0; j < 4; ++j) t.action[j] = real(4, 4, j);
  t.reward = real(5, 1, 0);
  t.terminated = number(6, 1, 0) % 2 == 1;
  t.truncated = number(7, 1, 0) % 2 == 1;
  t.success = number(8, 1, 0) % 2 == 1;
  t.intervention = number(9, 1, 0) % 2 == 1;
  t.grasp_penalty = real(10, 1, 0);
  t.evaluation = number(11, 1, 0) % 2 == 1;
  t.episode = static_cast<std::uint32_t>(number(12, 1, 0));
  t.step = static_cast<std::uint32_t>(number(13, 1, 0));
  t.policy_version = number(14, 1, 0);
  t.time_ns = static_cast<std::int64_t>(number(15, 1, 0));
  return t;
}

// The three golden transitions, packed, are the golden message, and it reads as what was packed.
void check_packed_and_read(const TransitionLayout& layout, const PackedColumns& packed,
                           const std::vector<Bytes>& golden) {
  const wire::Transitions message{kGoldenRunId, std::uint64_t{1} << 40, 3, layout.columns(), {}};
  CHECK(wire::encode(message) == golden[0]);
  REQUIRE(packed.frames().size() + 1 == golden.size());
  for (std::size_t i = 0; i < packed.frames().size(); ++i) {
    CAPTURE(layout.columns()[i].name);
    CHECK(to_bytes(packed.frames()[i]) == golden[i + 1]);
  }

  const auto decoded = decode_up<wire::Transitions>(golden);
  CHECK(decoded.columns == layout.columns());
  CHECK(decoded.first_seq == std::uint64_t{1} << 40);
  CHECK(decoded.count == 3);
  for (std::size_t i = 0; i < decoded.arrays.size(); ++i) {
    CHECK(to_bytes(decoded.arrays[i]) == golden[i + 1]);
  }
}

}  // namespace

TEST_CASE("golden messages of the controller are read and written") {
  const auto hello = read_golden("hello");
  CHECK(wire::encode(wire::Hello{1, kGoldenRunId, kContractId, "pick_cube", "lockstep",
                                 std::uint64_t{1} << 63}) == hello[0]);
  CHECK(decode_up<wire::Hello>(hello).next_seq == std::uint64_t{1} << 63);
  CHECK(wire::encode(decode_up<wire::Hello>(hello)) == hello[0]);

  const auto request = read_golden("policy_request");
  CHECK(wire::encode(wire::PolicyRequest{300, {}}) == request[0]);
  CHECK(decode_up<wire::PolicyRequest>(request).version == 300);

  const auto holding = read_golden("policy_request_holding_trunk");
  CHECK(wire::encode(wire::PolicyRequest{300, kTrunkSha256}) == holding[0]);
  CHECK(decode_up<wire::PolicyRequest>(holding).trunk_sha256 == kTrunkSha256);

  const auto result = read_golden("policy_result");
  CHECK(wire::encode(wire::PolicyResult{300, false, "späť: 3 > 2", 12.5}) == result[0]);
  CHECK(wire::encode(decode_up<wire::PolicyResult>(result)) == result[0]);

  const auto heartbeat = read_golden("heartbeat");
  CHECK(wire::encode(wire::Heartbeat{kGoldenRunId}) == heartbeat[0]);
  CHECK(decode_up<wire::Heartbeat>(heartbeat).run_id == kGoldenRunId);
}

TEST_CASE("golden messages of the learner are read and written") {
  const auto welcome = read_golden("welcome");
  CHECK(wire::encode(wire::Welcome{1, kLearnerId, kGoldenRunId, 70'000, UINT64_MAX}) == welcome[0]);
  CHECK(wire::encode(decode_down<wire::Welcome>(welcome)) == welcome[0]);

  const auto ack = read_golden("ack");
  CHECK(wire::encode(wire::Ack{kGoldenRunId, 200, 65'536, true}) == ack[0]);
  CHECK(wire::encode(decode_down<wire::Ack>(ack)) == ack[0]);

  const auto offer = read_golden("policy_offer");
  CHECK(wire::encode(wire::PolicyOffer{300, 5, kSha256, kContractId}) == offer[0]);
  CHECK(wire::encode(decode_down<wire::PolicyOffer>(offer)) == offer[0]);

  const auto policy = read_golden("policy");
  const auto decoded = decode_down<wire::Policy>(policy);
  CHECK(wire::encode(decoded) == policy[0]);
  CHECK(to_bytes(decoded.data) == policy[1]);
  CHECK(to_bytes(decoded.data) == to_bytes(std::string_view("\0onnx", 5)));

  const auto required = read_golden("hello_required");
  CHECK(wire::encode(decode_down<wire::HelloRequired>(required)) == required[0]);

  const auto refused = read_golden("refused");
  CHECK(decode_down<wire::Refused>(refused).reason == "another contract");
  CHECK(wire::encode(decode_down<wire::Refused>(refused)) == refused[0]);
}

TEST_CASE("golden policies with a trunk are read and written") {
  for (const auto& [name, bytes] :
       {std::pair{"policy_with_trunk", 5U}, {"policy_without_its_trunk", 2U}}) {
    CAPTURE(name);
    const auto golden = read_golden(name);
    const auto policy = decode_down<wire::Policy>(golden);
    CHECK(policy.size == 5);
    CHECK(policy.trunk_size == 3);
    CHECK(policy.trunk_sha256 == kTrunkSha256);
    CHECK(policy.data.size() == bytes);
    CHECK(wire::encode(policy) == golden[0]);
  }
}

TEST_CASE("a policy whose trunk does not fit is malformed") {
  const auto error = [](std::size_t trunk_size, const std::string& sha256, std::size_t bytes) {
    const Bytes header = wire::encode(wire::Policy{300, 5, kSha256, {}, trunk_size, sha256});
    return error_of(wire::decode_learner_message, {header, Bytes(bytes)});
  };
  CHECK(error(3, kTrunkSha256, 2).empty());
  CHECK(error(3, kTrunkSha256, 5).empty());
  CHECK(error(3, kTrunkSha256, 3).find("with a trunk of 3") != std::string::npos);
  CHECK(error(0, "", 2).find("the policy has 2 bytes") != std::string::npos);
  CHECK(error(5, kTrunkSha256, 5).find("policy.trunk_size is 5") != std::string::npos);
  CHECK(error(std::size_t{1} << 40, kTrunkSha256, 5).find("trunk_size") != std::string::npos);
  CHECK(error(3, "7B", 2).find("trunk_sha256") != std::string::npos);
}

TEST_CASE("golden messages of the operator are read and written") {
  const auto command = read_golden("command");
  const Value::Map args = {
      {"q", Value::List{0.5, -1, 2}}, {"wait", true}, {"note", ""}, {"n", Value()}};
  CHECK(wire::encode(wire::Command{9, "move", args}) == command[0]);
  CHECK(std::get<wire::Command>(wire::decode_operator_message(views(command))).args == args);

  const auto target = read_golden("target");
  const wire::StreamTarget pushed{wire::StreamTarget::Kind::kWrench, {1, -2, 3.5, 0, 0, 0.25}, 0.1};
  CHECK(wire::encode(pushed) == target[0]);
  const auto read = std::get<wire::StreamTarget>(wire::decode_operator_message(views(target)));
  CHECK(read.kind == pushed.kind);
  CHECK(read.values == pushed.values);
  CHECK(read.timeout_s == pushed.timeout_s);

  const auto reply = read_golden("reply");
  const Value::Map result = {
      {"list", Value::List{1, -129, std::int64_t{1} << 32, -(std::int64_t{1} << 31), 1.5, 2.0}}};
  CHECK(wire::encode(wire::Reply{9, false, "no such command", result}) == reply[0]);
  CHECK(wire::decode_reply(views(reply)).result == Value(result));
}

TEST_CASE("the golden state message is written") {
  wire::StateSample sample;
  sample.sequence = 7;
  sample.status = {{"mode", "hold"},
                   {"episode", 3},
                   {"faults", Value::Map{{"stale", 0}}},
                   {"rate_hz", 10.5},
                   {"x", Value()}};
  sample.gripper = 0.75;
  State& state = sample.state;
  state.time_ns = 123'456'789'000;
  for (int i = 0; i < kJoints; ++i) {
    state.q[i] = i / 8.0;
    state.dq[i] = 1 + i / 8.0;
    state.tau_J[i] = 2 + i / 8.0;
  }
  state.O_T_EE.position = Vec3(0.4, 0.1, 0.3);
  state.O_T_EE.orientation = Quat(0.5, 0.5, -0.5, 0.5);  // w x y z
  // The twist is J dq: joint i moves component i, joint 7 moves the first one too.
  state.zero_jacobian.leftCols<6>().setIdentity();
  state.zero_jacobian(0, 6) = 0.5 / state.dq[6];
  for (int i = 0; i < 6; ++i) state.O_F_ext[i] = i - 2.5;
  sample.reference = {Vec3(0.5, 0.2, 0.4), Quat(0.5, 0.5, 0.5, -0.5)};
  CHECK(wire::encode(sample) == read_golden("state"));
}

TEST_CASE("the golden transitions are packed and read") {
  const auto golden = read_golden("transitions");
  const TransitionLayout layout = golden_layout();
  PackedColumns packed;
  packed.start(layout, 3);
  Bytes row(layout.row_bytes());
  for (std::uint64_t i = 0; i < 3; ++i) {
    layout.write_row(golden_transition(i), row.data());
    packed.add(layout, row.data());
  }
  check_packed_and_read(layout, packed, golden);
}

// The golden message with images: front (2, 3, 3) and wrist (1, 2, 3), column c from 100 c on,
// modulo 256; only the second transition starts anew.
TEST_CASE("the golden transitions with images are packed and read") {
  const auto golden = read_golden("transitions_with_images");
  const TransitionLayout layout{
      {{"q", {7}}, {"cube/corners", {2, 3}}}, 4, {{"front", {2, 3, 3}}, {"wrist", {1, 2, 3}}}};
  CHECK(layout.image_bytes() == 24);
  const auto images = [](std::size_t front, std::size_t wrist, std::size_t row) {
    Bytes bytes;
    for (std::size_t i = 0; i < 18; ++i) bytes.push_back(std::byte(100 * front + 18 * row + i));
    for (std::size_t i = 0; i < 6; ++i) bytes.push_back(std::byte(100 * wrist + 6 * row + i));
    return bytes;
  };
  PackedColumns packed;
  packed.start(layout, 3, 1);
  Bytes row(layout.row_bytes());
  for (std::uint64_t i = 0; i < 3; ++i) {
    layout.write_row(golden_transition(i), row.data());
    const Bytes before = images(17, 18, 0);
    const Bytes after = images(19, 20, i);
    packed.add(layout, row.data(), {i == 1 ? BytesView(before) : BytesView(), after});
  }
  check_packed_and_read(layout, packed, golden);
}

TEST_CASE("a row gives the transition back") {
  const TransitionLayout layout = golden_layout();
  Bytes row(layout.row_bytes());
  for (std::uint64_t i = 0; i < 5; ++i) {
    const Transition t = golden_transition(i);
    layout.write_row(t, row.data());
    const Transition back = layout.read_row(row.data());
    CHECK(back.observation == t.observation);
    CHECK(back.next_observation == t.next_observation);
    CHECK(back.action == t.action);
    CHECK(back.reward == t.reward);
    CHECK(back.grasp_penalty == t.grasp_penalty);
    CHECK(back.episode == t.episode);
    CHECK(back.step == t.step);
    CHECK(back.policy_version == t.policy_version);
    CHECK(back.time_ns == t.time_ns);
    CHECK(back.terminated == t.terminated);
    CHECK(back.truncated == t.truncated);
    CHECK(back.success == t.success);
    CHECK(back.intervention == t.intervention);
    CHECK(back.evaluation == t.evaluation);
  }
}

TEST_CASE("a layout says what it cannot hold") {
  using Fields = std::vector<TransitionLayout::Field>;
  CHECK_THROWS_WITH_AS(TransitionLayout(Fields{}, 4), doctest::Contains("has 0 values"), Error);
  CHECK_THROWS_WITH_AS(TransitionLayout(Fields{{"q", {513}}}, 4), doctest::Contains("1 to 512"),
                       Error);
  CHECK_THROWS_WITH_AS(TransitionLayout(Fields{{"q", {7}}}, 33), doctest::Contains("1 to 32"),
                       Error);
  CHECK_THROWS_WITH_AS(TransitionLayout(Fields(30, {"q", {1}}), 4), doctest::Contains("at most 64"),
                       Error);
  CHECK_THROWS_WITH_AS(TransitionLayout(Fields{{"q", {7}}}, 4, {{"big", {4096, 4096, 3}}}),
                       doctest::Contains("use smaller images"), Error);
}
