// The command socket: arguments are checked, every request is answered.
#include "link/command_server.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "fake_learner.hpp"

using namespace serl_rt;
using namespace serl_rt::test;

TEST_CASE("command arguments are checked against their parameters") {
  const std::vector<Parameter> parameters = {
      Parameter::number("speed", 0.0, 1.0), Parameter::integer("n", -5, 5).or_none(),
      Parameter::text("mode", {"hold", "joint"}).or_none(), Parameter::flag("wait").or_none(),
      Parameter::numbers("q", 2, -1.0, 1.0).or_none()};
  const auto error = [&](const Value::Map& args) -> std::string {
    try {
      const Arguments checked(parameters, args);
      return "";
    } catch (const WireError& caught) {
      return caught.what();
    }
  };
  CHECK(error({{"speed", 1}}) == "");
  CHECK(error({{"speed", 0.5},
               {"n", -5},
               {"mode", "hold"},
               {"wait", true},
               {"q", Value::List{0.5, -1}}}) == "");
  CHECK(error({}) == "an argument is missing: speed: number in [0, 1]");
  CHECK(error({{"speed", 1.01}}).find("is 1.01; expected speed: number in [0, 1]") !=
        std::string::npos);
  CHECK(error({{"speed", std::nan("")}}).find("expected speed") != std::string::npos);
  CHECK(error({{"speed", "fast"}}).find("is \"fast\"") != std::string::npos);
  CHECK(error({{"speed", true}}).find("is true") != std::string::npos);
  CHECK(error({{"speed", 0}, {"n", 1.5}}).find("integer in [-5, 5]") != std::string::npos);
  CHECK(error({{"speed", 0}, {"n", 6}}).find("is 6") != std::string::npos);
  CHECK(error({{"speed", 0}, {"mode", "fly"}}).find("hold or joint") != std::string::npos);
  CHECK(error({{"speed", 0}, {"q", Value::List{0.0}}}).find("a list of 1") != std::string::npos);
  CHECK(error({{"speed", 0}, {"q", Value::List{0.0, 2.0}}}).find("2 numbers in [-1, 1]") !=
        std::string::npos);
  CHECK(error({{"speed", 0}, {"typo", 1}}).find("unknown argument typo") != std::string::npos);
}

TEST_CASE("commands are answered, and hostile messages do not stop that") {
  const auto messaging = Messaging::create();
  const CommandServer server(
      messaging, "tcp://127.0.0.1:*",
      {{"double",
        "twice",
        {Parameter::integer("n", 0, 9)},
        [](const Arguments& args) -> Value { return 2 * args.integer("n"); }},
       {"big", "too large", {}, [](const Arguments&) -> Value {
          return Value::List(20, Value(std::string(4000, 'x')));
        }}});
  Socket socket(messaging, Socket::Kind::kDealer, std::size_t{1} << 20);
  socket.connect(server.endpoint(), "controller");
  WakeUp wake;
  const auto send = [&](const Bytes& frame) {
    const BytesView view(frame);
    REQUIRE(eventually([&] { return socket.send({&view, 1}); }));
  };
  const auto ask = [&](const wire::Command& command) {
    send(wire::encode(command));
    std::optional<Received> received;
    REQUIRE(eventually([&] {
      received = socket.receive();
      return received.has_value();
    }));
    return wire::decode_reply(received->frames());
  };
  send(to_bytes("nonsense"));
  send({});
  const wire::Reply doubled = ask({1, "double", {{"n", 4}}});
  CHECK(doubled.ok);
  CHECK(doubled.id == 1);
  CHECK(doubled.result == Value(8));
  CHECK(server.malformed() == 2);
  const wire::Reply unknown = ask({2, "jump", {}});
  CHECK_FALSE(unknown.ok);
  CHECK(unknown.error == "unknown command jump; there are: help, double, big");
  CHECK(ask({3, "double", {{"n", 10}}}).error ==
        "the argument n is 10; expected n: integer in [0, 9]");
  CHECK(ask({4, "big", {}}).error.find("at most 65536") != std::string::npos);
  const wire::Reply help = ask({5, "help", {}});
  CHECK(help.result.find("double")->find("summary")->text() != nullptr);
}
