// The wire format: golden bytes, hostile input, rows and columns.
#include "link/wire.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "golden_wire.hpp"
#include "link/operator_wire.hpp"

using namespace serl_rt;

namespace {

const std::string kRunId = "0123456789abcdef0123456789abcdef";
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

// What decoding says is wrong; empty: nothing.
template <class Decode>
std::string error_of(const Decode& decode, const std::vector<Bytes>& frames) {
  try {
    decode(views(frames));
  } catch (const WireError& error) {
    return error.what();
  }
  return "";
}

void decode_with_everything(const std::vector<Bytes>& frames) {
  error_of(wire::decode_controller_message, frames);
  error_of(wire::decode_learner_message, frames);
  error_of(wire::decode_operator_message, frames);
  error_of(wire::decode_reply, frames);
}

const std::vector<std::string> kNames = {"hello",
                                         "transitions",
                                         "transitions_with_images",
                                         "policy_request",
                                         "policy_request_holding_trunk",
                                         "policy_result",
                                         "heartbeat",
                                         "welcome",
                                         "ack",
                                         "policy_offer",
                                         "policy",
                                         "policy_with_trunk",
                                         "policy_without_its_trunk",
                                         "hello_required",
                                         "refused",
                                         "command",
                                         "reply",
                                         "target",
                                         "state"};

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

}  // namespace

TEST_CASE("golden messages of the controller are read and written") {
  const auto hello = read_golden("hello");
  CHECK(wire::encode(wire::Hello{1, kRunId, kContractId, "pick_cube", "lockstep",
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
  CHECK(wire::encode(wire::Heartbeat{kRunId}) == heartbeat[0]);
  CHECK(decode_up<wire::Heartbeat>(heartbeat).run_id == kRunId);
}

TEST_CASE("golden messages of the learner are read and written") {
  const auto welcome = read_golden("welcome");
  CHECK(wire::encode(wire::Welcome{1, kLearnerId, kRunId, 70'000, UINT64_MAX}) == welcome[0]);
  CHECK(wire::encode(decode_down<wire::Welcome>(welcome)) == welcome[0]);

  const auto ack = read_golden("ack");
  CHECK(wire::encode(wire::Ack{kRunId, 200, 65'536, true}) == ack[0]);
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
  const wire::Transitions message{kRunId, std::uint64_t{1} << 40, 3, layout.columns(), {}};
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
  const wire::Transitions message{kRunId, std::uint64_t{1} << 40, 3, layout.columns(), {}};
  CHECK(wire::encode(message) == golden[0]);
  REQUIRE(packed.frames().size() + 1 == golden.size());
  for (std::size_t i = 0; i < packed.frames().size(); ++i) {
    CAPTURE(layout.columns()[i].name);
    CHECK(to_bytes(packed.frames()[i]) == golden[i + 1]);
  }
  const auto decoded = decode_up<wire::Transitions>(golden);
  CHECK(decoded.columns == layout.columns());
  for (std::size_t i = 0; i < decoded.arrays.size(); ++i) {
    CHECK(to_bytes(decoded.arrays[i]) == golden[i + 1]);
  }
}

TEST_CASE("images that do not fit to the starts are named") {
  const auto error = [](std::size_t frame, Bytes bytes) {
    auto frames = read_golden("transitions_with_images");
    frames[frame] = std::move(bytes);
    return error_of(wire::decode_controller_message, frames);
  };
  const std::size_t starts = 1 + 16;
  const auto contains = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(contains(error(starts, {std::byte{1}, std::byte{1}, std::byte{0}}), "observation/front"));
  CHECK(contains(error(starts, {std::byte{0}, std::byte{2}, std::byte{0}}), "zeros and ones"));
  CHECK(contains(error(starts, {std::byte{0}, std::byte{1}}), "zeros and ones"));
  CHECK(contains(error(starts + 1, Bytes(36)), "observation/front"));
  CHECK(contains(error(starts + 3, Bytes(18)), "next_observation/front"));
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

TEST_CASE("hostile headers are named") {
  const auto up = [](const std::vector<Bytes>& frames) {
    return error_of(wire::decode_controller_message, frames);
  };
  const auto text = [](const std::string& bytes) { return std::vector<Bytes>{to_bytes(bytes)}; };
  const auto header = [](const Value::Map& map) { return std::vector<Bytes>{pack(map)}; };
  const auto says = [&](const std::vector<Bytes>& frames, const std::string& expected) {
    const std::string error = up(frames);
    CAPTURE(error);
    CAPTURE(expected);
    CHECK(error.find(expected) != std::string::npos);
  };
  says({}, "empty");
  says(text(""), "not valid msgpack");
  says(text("\x92\x01\x02"), "not a map");
  says(text("\x81\xa1q\x01"), "lacks its type");
  says(text("\x81\x01\x02"), "not text");
  says(text(std::string("\x82\xa1q\x01\xa1q\x02")), "occurs twice");
  says(text("\x81\xa1q\xdd\xff\xff\xff\xff"), "not valid msgpack");  // a list of 2^32 - 1
  says(text("\xdf\xff\xff\xff\xff"), "not valid msgpack");           // a map of 2^32 - 1
  says(text("\x81\xa1q\xdb\xff\xff\xff\xff"), "not valid msgpack");  // a text of 4 GiB
  says(text(std::string(60'000, '\x91')), "not valid msgpack");      // nested 60 000 deep
  says(text("\x81\xa1q\xa2\xc3\x28"), "UTF-8");
  says(text("\x81\xa1q\xa3\xed\xa0\x80"), "UTF-8");       // half of a surrogate pair
  says(text("\x81\xa1q\xc4\x01z"), "not valid msgpack");  // binary
  says(text(std::string(kMaxHeaderBytes + 1, '\x01')), "at most 65536");
  says(header({{"type", "nonsense"}}), "expected one of hello");
  says(header({{"type", "heartbeat"}}), "lacks run_id");
  says(header({{"type", "heartbeat"}, {"run_id", std::string(32, 'A')}}), "lower-case hex");
  says(header({{"type", "policy_request"}, {"version", -1}}), "version is -1");
  says(header({{"type", "policy_request"}, {"version", true}}), "version is true");
  says(header({{"type", "policy_request"}, {"version", 1.0}}), "version is 1");
  auto two = header({{"type", "policy_request"}, {"version", 1}});
  two.emplace_back();
  says(two, "has 2 frames");
}

TEST_CASE("hostile transitions are named") {
  const auto golden = read_golden("transitions");
  const Value::List column = {"a", "f4", Value::List{}};
  const auto with = [&](std::size_t count, const Value& columns) {
    std::vector<Bytes> frames = golden;
    frames[0] = pack({{"type", "transitions"},
                      {"run_id", kRunId},
                      {"first_seq", 0},
                      {"count", count},
                      {"columns", columns}});
    return frames;
  };
  const auto says = [&](std::vector<Bytes> frames, std::size_t arrays, const char* expected) {
    frames.resize(1 + arrays);
    const std::string error = error_of(wire::decode_controller_message, frames);
    CAPTURE(error);
    CAPTURE(expected);
    CHECK(error.find(expected) != std::string::npos);
  };
  const auto shape = [](const Value& sizes) { return Value::List{Value::List{"a", "f4", sizes}}; };
  says(with(0, Value::List{column}), 1, "count is 0");
  says(with(4097, Value::List{column}), 1, "count is 4097");
  says(with(3, Value::List{}), 0, "expected a list of 1 to 64");
  says(with(3, Value::List(65, column)), 65, "expected a list of 1 to 64");
  says(with(3, Value::List{column, column}), 2, "occurs twice");
  says(with(3, Value::List{Value::List{"a", "f4"}}), 1, "not [name, dtype, shape]");
  says(with(3, Value::List{Value::List{"a b", "f4", Value::List{}}}), 1, "a column's name");
  says(with(3, Value::List{Value::List{"a", "O", Value::List{}}}), 1, "expected f4");
  says(with(3, shape(Value::List(5, 1))), 1, "up to 4 sizes");
  says(with(3, shape(Value::List{-1})), 1, "a size of column a is -1");
  says(with(3, shape(Value::List(4, 65536))), 1, "not 3 times its dtype and shape");
  says(with(4, shape(Value::List{7})), 1, "not 4 times its dtype and shape");
  says(with(3, shape(Value::List{7})), 2, "has 3 frames; expected 2");
}

TEST_CASE("mutated messages throw nothing but WireError") {
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (const std::string& name : kNames) {
    const auto original = read_golden(name);
    for (int round = 0; round < 3000; ++round) {
      std::vector<Bytes> frames = original;
      for (std::size_t change = 0; change <= below(4); ++change) {
        Bytes& frame = frames[below(frames.size())];
        switch (below(4)) {
          case 0:
            if (!frame.empty()) frame[below(frame.size())] = static_cast<std::byte>(random());
            break;
          case 1:
            frame.resize(below(frame.size() + 1));
            break;
          case 2:
            frame.insert(frame.end(), 1 + below(9), static_cast<std::byte>(random()));
            break;
          default:
            std::shuffle(frames.begin(), frames.end(), random);
        }
      }
      decode_with_everything(frames);
    }
  }
}

TEST_CASE("random bytes throw nothing but WireError") {
  std::mt19937 random(8);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<Bytes> frames(random() % 4);
    for (Bytes& frame : frames) {
      frame.resize(random() % 100);
      for (std::byte& byte : frame) byte = static_cast<std::byte>(random());
      if (!frame.empty() && random() % 2 == 0)
        frame[0] = static_cast<std::byte>(0x80 + random() % 16);
    }
    decode_with_everything(frames);
  }
}

TEST_CASE("what is too large or not text is not written") {
  const Value::Map large = {{"list", Value::List(20, Value(std::string(4000, 'x')))}};
  CHECK_THROWS_WITH_AS(pack(large), doctest::Contains("at most 65536"), WireError);
  CHECK_THROWS_AS(pack({{"text", std::string(kMaxText + 1, 'x')}}), WireError);
  CHECK_THROWS_AS(pack({{"text", "\xff"}}), WireError);
  Value deep = Value::List{};
  for (int i = 0; i < kMaxDepth; ++i) deep = Value::List{deep};
  CHECK_THROWS_WITH_AS(pack({{"deep", deep}}), doctest::Contains("deep"), WireError);
}

TEST_CASE("any text can be cleaned for sending") {
  CHECK(clean_text("späť") == "späť");
  CHECK(clean_text("a\xff\xc3") == "a??");
  const std::string cleaned = clean_text(std::string(kMaxText - 1, 'x') + "ä");
  CHECK(cleaned.size() == kMaxText - 1);
  CHECK_NOTHROW(pack({{"text", cleaned}}));
}
