// Lets an operator's program control the controller: requests in, replies out, on a thread of its
// own.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "link/command.hpp"
#include "link/socket.hpp"
#include "link/wire.hpp"

namespace serl_rt {

class CommandServer {
 public:
  // Starts answering; the commands, and `help` which lists them. Throws Error when it cannot listen
  // there.
  CommandServer(std::shared_ptr<Messaging> messaging, const std::string& endpoint,
                std::vector<CommandSpec> commands);
  ~CommandServer();  // waits for a command that is running

  const std::string& endpoint() const noexcept { return endpoint_; }
  std::uint64_t malformed() const noexcept { return malformed_.load(); }  // messages dropped

 private:
  void run();
  void answer(const Received& message);
  wire::Reply execute(const wire::Command& command) const;
  Value help() const;

  const std::vector<CommandSpec> commands_;
  Socket socket_;
  const std::string endpoint_;
  WakeUp wake_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> malformed_ = 0;
  std::thread thread_;
};

}  // namespace serl_rt
