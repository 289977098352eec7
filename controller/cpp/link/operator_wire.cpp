#include "link/operator_wire.hpp"

#include <algorithm>
#include <array>

namespace serl_rt::wire {
namespace {

template <class... Arrays>
std::vector<Bytes> with_arrays(Bytes header, const Arrays&... arrays) {
  const auto bytes_of = [](const auto& array) {
    const auto* data = reinterpret_cast<const std::byte*>(array.data());
    return Bytes(data, data + sizeof(double) * static_cast<std::size_t>(array.size()));
  };
  const auto* topic = reinterpret_cast<const std::byte*>(kStateTopic.data());
  return {Bytes(topic, topic + kStateTopic.size()), std::move(header), bytes_of(arrays)...};
}

struct KindName {
  std::string_view name;
  std::size_t length;  // 0: whatever the contract says
};
constexpr std::array<KindName, 4> kKinds{
    {{"pose", 7}, {"joints", 7}, {"wrench", 6}, {"action", 0}}};

StreamTarget stream_target_from(const Fields& fields) {
  StreamTarget target;
  const std::string name = fields.choice("kind", {"pose", "joints", "wrench", "action"});
  const auto kind = std::find_if(kKinds.begin(), kKinds.end(),
                                 [&](const KindName& known) { return known.name == name; });
  target.kind = static_cast<StreamTarget::Kind>(kind - kKinds.begin());
  const Value::List* values = fields.at("values").list();
  if (values == nullptr || values->empty() || values->size() > StreamTarget::kMaxValues ||
      (kind->length != 0 && values->size() != kind->length)) {
    throw WireError("target.values is not a list of the kind's length");
  }
  for (const Value& value : *values) {
    target.values.push_back(check_number("target.values", value));
  }
  target.timeout_s = fields.number("timeout_s");
  if (target.timeout_s < StreamTarget::kMinTimeout ||
      target.timeout_s > StreamTarget::kMaxTimeout) {
    throw WireError("target.timeout_s is outside [0.02, 5] s");
  }
  return target;
}

}  // namespace

Bytes encode(const Command& m) {
  return pack({{"type", "command"}, {"id", m.id}, {"name", m.name}, {"args", m.args}});
}

Bytes encode(const Reply& m) {
  return pack(
      {{"type", "reply"}, {"id", m.id}, {"ok", m.ok}, {"error", m.error}, {"result", m.result}});
}

Bytes encode(const StreamTarget& m) {
  Value::List values(m.values.begin(), m.values.end());
  return pack({{"type", "target"},
               {"kind", kKinds[static_cast<std::size_t>(m.kind)].name},
               {"values", std::move(values)},
               {"timeout_s", m.timeout_s}});
}

std::vector<Bytes> encode(const StateSample& m) {
  const auto seven = [](const Pose& pose) {
    Vec7 values;
    values << pose.position, pose.orientation.coeffs();  // coeffs: x y z w
    return values;
  };
  // Row by row, as numpy has it.
  const Eigen::Matrix<double, 6, 7, Eigen::RowMajor> jacobian = m.state.zero_jacobian;
  return with_arrays(pack({{"type", "state"},
                           {"sequence", m.sequence},
                           {"time_ns", m.state.time_ns},
                           {"status", m.status}}),
                     m.state.q, m.state.dq, m.state.tau_J, seven(m.state.O_T_EE),
                     tcp_twist(m.state), m.state.O_F_ext, Eigen::Matrix<double, 1, 1>(m.gripper),
                     jacobian, seven(m.reference));
}

OperatorMessage decode_operator_message(const Frames& frames) {
  const Fields fields = header_of(frames);
  if (fields.type() != "command" && fields.type() != "target") {
    unexpected(fields, "command or target");
  }
  expect_frames(fields, frames, 1);
  if (fields.type() == "target") return stream_target_from(fields);
  return Command{fields.u64("id"), fields.name("name"), fields.map("args")};
}

Reply decode_reply(const Frames& frames) {
  const Fields fields = header_of(frames);
  if (fields.type() != "reply") unexpected(fields, "reply");
  expect_frames(fields, frames, 1);
  return {fields.u64("id"), fields.flag("ok"), fields.text("error"), fields.at("result")};
}

}  // namespace serl_rt::wire
