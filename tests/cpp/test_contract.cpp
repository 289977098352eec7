#include <doctest/doctest.h>

#include <limits>

#include "core/error.hpp"
#include "policy/contract.hpp"
#include "policy/sha256.hpp"
#include "policy_support.hpp"

using namespace serl_rt;
using test::contains;
using test::golden_contract;
using test::golden_contract_text;

namespace {

// The message of the Error that `call` throws; empty when it throws none.
template <typename Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("SHA-256 of the examples in FIPS 180-4") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_hex(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 pads every length around a block's end") {
  // Digests of digests of 0..130 letters, computed with Python's hashlib.
  std::string all;
  for (std::size_t length = 0; length <= 130; ++length) {
    all += sha256_hex(std::string(length, 'x'));
  }
  CHECK(sha256_hex(all) == "87aca1c44bc7ba8897768170211f0a02063de70801131ff86c7edb9ce32c6a50");
}

TEST_CASE("a contract from Python prints the same text and id") {
  for (const char* name : {"golden", "everything"}) {
    const auto [text, id] = golden_contract_text(name);
    REQUIRE(id.size() == 64);
    const Contract contract = contract_from_json(text);
    CHECK(contract.canonical_json() == text);
    CHECK(contract.id() == id);
  }
}

TEST_CASE("what a task file leaves out has a default, so its id is that of the full text") {
  auto [text, id] = golden_contract_text("golden");
  for (const std::string part :
       {R"(,"shape":[1],"threshold")", R"("anchor":"measured",)", R"("images":[],)"}) {
    const std::size_t at = text.find(part);
    REQUIRE(at != std::string::npos);
    text.replace(at, part.size(), part.ends_with("threshold\"") ? R"(,"threshold")" : "");
  }
  CHECK(contract_from_json(text).id() == id);
}

TEST_CASE("sizes are those of the fields together") {
  const Contract contract = golden_contract();
  CHECK(contract.observation_dim() == 7);
  CHECK(contract.action_dim() == 4);
}

TEST_CASE("text that is no contract is refused and the place is named") {
  const std::string text = golden_contract_text("golden").first;
  const auto read = [](const std::string& json) {
    return refusal([&] { contract_from_json(json); });
  };
  CHECK(contains(read("{"), "not valid JSON"));
  CHECK(contains(read("[]"), "JSON object"));
  CHECK(contains(read("{}"), "workspace is missing"));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return read(changed);
  };
  CHECK(with("golden", "other").empty());
  CHECK(contains(with("policy_rate_hz", "policy_rate"), "unknown key \"policy_rate\""));
  CHECK(contains(with("float32", "float64"), "dtype"));
  CHECK(contains(with("\"unit\":\"m\"", "\"unit\":\"mm\""), "unit"));
  CHECK(contains(with("\"policy_rate_hz\":100", "\"policy_rate_hz\":\"fast\""), "a number"));
  CHECK(contains(with("\"policy_rate_hz\":100", "\"policy_rate_hz\":1e400"), "JSON"));
  CHECK(contains(with("\"shape\":[3]", "\"shape\":[3.5]"), "integer"));
}

TEST_CASE("every value of a contract is checked and named when it is wrong") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto refused = [](auto change) {
    Contract contract = golden_contract();
    change(contract);
    return refusal([&] { validate(contract); });
  };
  CHECK(refused([](Contract&) {}).empty());
  CHECK(contains(refused([](Contract& c) { c.name = "Reach"; }), "name = \"Reach\""));
  CHECK(contains(refused([](Contract& c) { c.policy_rate_hz = 0.5; }), "policy_rate_hz"));
  CHECK(contains(refused([&](Contract& c) { c.policy_rate_hz = nan; }), "policy_rate_hz"));
  CHECK(contains(refused([](Contract& c) { c.workspace_low.pop_back(); }), "workspace.low"));
  CHECK(contains(refused([](Contract& c) { c.workspace_high[2] = -1.0; }), "workspace.high[2]"));
  CHECK(contains(refused([](Contract& c) { c.observation.clear(); }), "at least one"));
  CHECK(contains(refused([](Contract& c) { c.observation[1].name = "noise"; }), "noise"));
  CHECK(contains(refused([](Contract& c) { c.observation[0].shape = {4}; }), "[3] for tcp_pos"));
  CHECK(contains(refused([](Contract& c) { c.observation[0].frame = "tool"; }), "frame"));
  CHECK(contains(refused([](Contract& c) { c.observation[0].unit = "rad"; }), "unit"));
  CHECK(contains(refused([](Contract& c) { c.observation[2].shape = {2, 2}; }), "low"));
  CHECK(contains(refused([](Contract& c) { c.observation[2].shape = {}; }), "shape"));
  CHECK(contains(refused([](Contract& c) { c.observation[2].high[1] = -9.0; }), "high[1]"));
  CHECK(contains(refused([](Contract& c) { c.action[0].scale[2] = -1.0; }), "scale"));
  CHECK(contains(refused([](Contract& c) { c.action[0].anchor = "here"; }), "anchor"));
  CHECK(contains(refused([](Contract& c) { c.action[0].shape = {5}; }), "shape"));
  CHECK(contains(refused([](Contract& c) { c.action[1].kind = "suction"; }), "kind"));
  CHECK(contains(refused([](Contract& c) { c.action[1].threshold.reset(); }), "threshold"));
  CHECK(contains(refused([](Contract& c) { c.action[1].scale = {0.5}; }), "scale"));
  CHECK(contains(refused([](Contract& c) { c.action.erase(c.action.begin()); }), "action"));
  CHECK(contains(refused([](Contract& c) { c.action.push_back(c.action[1]); }), "action"));
  CHECK(contains(refused([](Contract& c) { c.images = {{"wrist", 0, 128}}; }), "height"));
}
