#include "link/state_publisher.hpp"

#include "link/operator_wire.hpp"

namespace serl_rt {

StatePublisher::StatePublisher(std::shared_ptr<Messaging> messaging, const std::string& endpoint)
    : socket_(std::move(messaging), Socket::Kind::kPub, kMaxHeaderBytes) {
  socket_.bind(endpoint);
}

void StatePublisher::publish(const State& state, double gripper, const Pose& reference,
                             Value::Map status) {
  const std::vector<Bytes> message =
      wire::encode(wire::StateSample{sequence_++, std::move(status), state, gripper, reference});
  const std::vector<BytesView> frames(message.begin(), message.end());
  socket_.send(frames);
}

}  // namespace serl_rt
