// Lets an operator's program control the controller: requests in, replies out, on a thread of its
// own; slow commands on a second one. Targets of a stream come in without an answer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "link/command.hpp"
#include "link/operator_wire.hpp"
#include "link/socket.hpp"

namespace serl_rt {

class CommandServer {
 public:
  using TargetHandler = std::function<void(const wire::StreamTarget&)>;

  // Starts answering; the commands, and `help` which lists them. `on_target` is called on the
  // thread of the quick commands. Throws Error when it cannot listen there.
  CommandServer(std::shared_ptr<Messaging> messaging, const std::string& endpoint,
                std::vector<CommandSpec> commands, TargetHandler on_target = {});
  ~CommandServer();  // waits for commands that are running

  const std::string& endpoint() const noexcept { return endpoint_; }
  std::uint64_t malformed() const noexcept { return malformed_.load(); }  // messages dropped

 private:
  struct Job {
    Bytes asker;
    wire::Command command;
  };
  struct Answer {
    Bytes asker, reply;
  };
  static constexpr std::size_t kMaxJobs = 16;  // slow commands that wait

  void run();
  void run_slow();
  void take(const Received& message);
  void send_answers();
  bool queue(Job job);
  const CommandSpec* find(const std::string& name) const noexcept;
  Bytes answer(const wire::Command& command) const;
  wire::Reply execute(const wire::Command& command) const;
  Value help() const;

  const std::vector<CommandSpec> commands_;
  const TargetHandler on_target_;
  Socket socket_;
  const std::string endpoint_;
  WakeUp wake_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> malformed_ = 0;
  std::mutex mutex_;  // the two queues
  std::condition_variable job_came_;
  std::deque<Job> jobs_;
  std::vector<Answer> answers_;  // of the slow thread, to be sent by the other
  std::thread slow_thread_;
  std::thread thread_;
};

}  // namespace serl_rt
