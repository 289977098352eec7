#include "link/command_server.hpp"

#include <array>
#include <chrono>

namespace serl_rt {
namespace {

Socket bound_socket(std::shared_ptr<Messaging> messaging, const std::string& endpoint) {
  Socket socket(std::move(messaging), Socket::Kind::kRouter, kMaxHeaderBytes);
  socket.bind(endpoint);
  return socket;
}

wire::Reply failure(std::uint64_t id, std::string_view error) {
  return {id, false, clean_text(error), {}};
}

}  // namespace

CommandServer::CommandServer(std::shared_ptr<Messaging> messaging, const std::string& endpoint,
                             std::vector<CommandSpec> commands)
    : commands_(std::move(commands)),
      socket_(bound_socket(std::move(messaging), endpoint)),
      endpoint_(socket_.endpoint()),
      thread_([this] { run(); }) {}

CommandServer::~CommandServer() {
  stopping_.store(true);
  wake_.signal();
  thread_.join();
}

void CommandServer::run() {
  while (!stopping_.load()) {
    while (const std::optional<Received> message = socket_.receive()) answer(*message);
    socket_.wait(std::chrono::seconds(1), wake_);
  }
}

void CommandServer::answer(const Received& message) {
  // ROUTER: the first frame says who asks.
  const std::vector<BytesView>& frames = message.frames();
  Bytes reply;
  try {
    const wire::Command command = wire::decode_command({frames.begin() + 1, frames.end()});
    try {
      reply = wire::encode(execute(command));
    } catch (const WireError& error) {
      reply = wire::encode(failure(command.id, std::string("the result: ") + error.what()));
    }
  } catch (const std::exception&) {
    ++malformed_;
    return;
  }
  const std::array<BytesView, 2> answer = {frames[0], reply};
  socket_.send(answer);
}

wire::Reply CommandServer::execute(const wire::Command& command) const {
  std::string names = "help";
  for (const CommandSpec& spec : commands_) {
    if (spec.name == command.name) {
      try {
        return {command.id, true, "", spec.run(Arguments(spec.parameters, command.args))};
      } catch (const std::exception& error) {
        return failure(command.id, error.what());
      }
    }
    names += ", " + spec.name;
  }
  if (command.name == "help") return {command.id, true, "", help()};
  return failure(command.id, "unknown command " + command.name + "; there are: " + names);
}

Value CommandServer::help() const {
  Value::Map result;
  for (const CommandSpec& spec : commands_) {
    Value::List parameters;
    for (const Parameter& parameter : spec.parameters)
      parameters.emplace_back(parameter.describe());
    result.emplace_back(
        spec.name, Value::Map{{"summary", spec.summary}, {"arguments", std::move(parameters)}});
  }
  return result;
}

}  // namespace serl_rt
