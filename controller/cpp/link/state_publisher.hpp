// Publishes what the robot does, for displays and scripts. Slow readers lose samples; nothing waits
// for them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/types.hpp"
#include "link/socket.hpp"

namespace serl_rt {

// Belongs to one thread at a time; allocates, so not to the 1 kHz thread.
class StatePublisher {
 public:
  // Throws Error when it cannot listen there.
  StatePublisher(std::shared_ptr<Messaging> messaging, const std::string& endpoint);

  // `gripper`: opening fraction. `reference`: what the law follows. `status`: whatever else a
  // reader should know. Throws WireError when `status` is larger than a header may be.
  void publish(const State& state, double gripper, const Pose& reference, Value::Map status);

  std::string endpoint() const { return socket_.endpoint(); }

 private:
  Socket socket_;
  std::uint64_t sequence_ = 0;
};

}  // namespace serl_rt
