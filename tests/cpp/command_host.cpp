// The state and command sockets without a robot, for the tests of the Python client. Prints where
// it listens, as JSON; publishes until its standard input is closed.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <thread>

#include "link/command_server.hpp"
#include "link/state_publisher.hpp"

namespace {

using namespace serl_rt;

std::vector<CommandSpec> commands() {
  const auto echo = [](const Arguments& args) -> Value {
    return Value::Map{{"text", args.text("text")},
                      {"speed", args.has("speed") ? Value(args.number("speed")) : Value()}};
  };
  const auto move = [](const Arguments& args) -> Value {
    double sum = 0.0;
    for (const double q : args.numbers("q")) sum += q;
    return sum;
  };
  const auto count = [](const Arguments& args) -> Value {
    return args.flag("twice") ? 2 * args.integer("n") : args.integer("n");
  };
  const auto fail = [](const Arguments&) -> Value { throw Error("it failed on purpose"); };
  const auto sleep = [](const Arguments& args) -> Value {
    std::this_thread::sleep_for(std::chrono::milliseconds(args.integer("ms")));
    return {};
  };
  return {{"echo",
           "send back",
           {Parameter::text("text"), Parameter::number("speed", 0.0, 1.0).or_none()},
           echo},
          {"move", "add up", {Parameter::numbers("q", 7, -3.0, 3.0)}, move},
          {"count", "count", {Parameter::integer("n", 0, 9), Parameter::flag("twice")}, count},
          {"mode",
           "choose",
           {Parameter::text("mode", {"hold", "joint"})},
           [](const Arguments& args) { return Value(args.text("mode")); }},
          {"fail", "fail", {}, fail},
          {"sleep", "wait", {Parameter::integer("ms", 0, 10000)}, sleep}};
}

State make_state(std::uint64_t index) {
  State state;
  state.time_ns = static_cast<std::int64_t>(index) * kTickNs;
  for (int i = 0; i < kJoints; ++i) {
    state.q[i] = 0.1 * i;
    state.dq[i] = 0.2 * i;
    state.tau_J[i] = 0.3 * i;
    state.zero_jacobian(i % 6, i) = 1.0;
  }
  state.O_T_EE.position = Vec3(0.4, 0.1, 0.3);
  state.O_T_EE.orientation = Quat(0.5, 0.5, -0.5, 0.5);  // w x y z
  state.O_F_ext << 1.0, 2.0, 3.0, 4.0, 5.0, 6.0;
  return state;
}

}  // namespace

int main(int argc, char** argv) {
  std::string keys;
  std::string state_endpoint = "tcp://127.0.0.1:*";
  std::string command_endpoint = "tcp://127.0.0.1:*";
  CLI::App app("State and command sockets of a controller without a robot");
  app.add_option("--keys", keys);
  app.add_option("--state", state_endpoint);
  app.add_option("--commands", command_endpoint);
  CLI11_PARSE(app, argc, argv);
  try {
    const auto messaging = Messaging::create(keys);
    StatePublisher publisher(messaging, state_endpoint);
    const CommandServer server(messaging, command_endpoint, commands());
    std::printf("{\"state\": \"%s\", \"commands\": \"%s\"}\n", publisher.endpoint().c_str(),
                server.endpoint().c_str());
    std::fflush(stdout);

    std::atomic<bool> open = true;
    std::thread watch([&open] {
      while (std::cin.get() != EOF) continue;
      open = false;
    });
    for (std::uint64_t index = 0; open; ++index) {
      publisher.publish(make_state(index), 0.75,
                        Pose{Vec3(0.5, 0.2, 0.4), Quat(0.0, 1.0, 0.0, 0.0)},
                        {{"mode", "hold"}, {"episode", index / 100}});
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    watch.join();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "command_host: " << error.what() << "\n";
    return 2;
  }
}
