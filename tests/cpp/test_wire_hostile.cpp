// The wire format against hostile input: named when decoded, nothing but WireError.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "golden_wire.hpp"
#include "link/operator_wire.hpp"
#include "link/wire.hpp"

using namespace serl_rt;

namespace {

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

}  // namespace

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
                      {"run_id", kGoldenRunId},
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
