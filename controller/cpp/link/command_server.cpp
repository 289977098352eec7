#include "link/command_server.hpp"

#include <array>
#include <chrono>
#include <utility>

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
                             std::vector<CommandSpec> commands, TargetHandler on_target)
    : commands_(std::move(commands)),
      on_target_(std::move(on_target)),
      socket_(bound_socket(std::move(messaging), endpoint)),
      endpoint_(socket_.endpoint()),
      slow_thread_([this] { run_slow(); }),
      thread_([this] { run(); }) {}

CommandServer::~CommandServer() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_.store(true);
  }
  wake_.signal();
  job_came_.notify_one();
  slow_thread_.join();
  thread_.join();
}

void CommandServer::run() {
  while (!stopping_.load()) {
    while (const std::optional<Received> message = socket_.receive()) take(*message);
    send_answers();
    socket_.wait(std::chrono::seconds(1), wake_);
  }
}

void CommandServer::run_slow() {
  std::unique_lock lock(mutex_);
  while (true) {
    job_came_.wait(lock, [this] { return stopping_.load() || !jobs_.empty(); });
    if (stopping_.load()) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    Bytes reply = answer(job.command);
    lock.lock();
    answers_.push_back({job.asker, std::move(reply)});
    wake_.signal();
  }
}

void CommandServer::take(const Received& message) {
  // ROUTER: the first frame says who asks.
  const std::vector<BytesView>& frames = message.frames();
  try {
    const wire::OperatorMessage request =
        wire::decode_operator_message({frames.begin() + 1, frames.end()});
    if (const auto* target = std::get_if<wire::StreamTarget>(&request)) {
      if (on_target_) on_target_(*target);
      return;
    }
    const auto& command = std::get<wire::Command>(request);
    const CommandSpec* spec = find(command.name);
    Bytes reply;
    if (spec != nullptr && spec->slow) {
      if (queue({Bytes(frames[0].begin(), frames[0].end()), command})) return;
      reply = wire::encode(failure(command.id, "too many slow commands are waiting already"));
    } else {
      reply = answer(command);
    }
    const std::array<BytesView, 2> parts = {frames[0], reply};
    socket_.send(parts);
  } catch (const std::exception&) {
    ++malformed_;
  }
}

bool CommandServer::queue(Job job) {
  {
    const std::scoped_lock lock(mutex_);
    if (jobs_.size() >= kMaxJobs) return false;
    jobs_.push_back(std::move(job));
  }
  job_came_.notify_one();
  return true;
}

void CommandServer::send_answers() {
  std::vector<Answer> answers;
  {
    const std::scoped_lock lock(mutex_);
    answers.swap(answers_);
  }
  for (const Answer& answer : answers) {
    const std::array<BytesView, 2> parts = {answer.asker, answer.reply};
    socket_.send(parts);
  }
}

const CommandSpec* CommandServer::find(const std::string& name) const noexcept {
  for (const CommandSpec& spec : commands_) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

Bytes CommandServer::answer(const wire::Command& command) const {
  try {
    return wire::encode(execute(command));
  } catch (const WireError& error) {
    return wire::encode(failure(command.id, std::string("the result: ") + error.what()));
  }
}

wire::Reply CommandServer::execute(const wire::Command& command) const {
  if (const CommandSpec* spec = find(command.name)) {
    try {
      return {command.id, true, "", spec->run(Arguments(spec->parameters, command.args))};
    } catch (const std::exception& error) {
      return failure(command.id, error.what());
    }
  }
  if (command.name == "help") return {command.id, true, "", help()};
  std::string names = "help";
  for (const CommandSpec& spec : commands_) names += ", " + spec.name;
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
