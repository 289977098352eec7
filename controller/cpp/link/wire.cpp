#include "link/wire.hpp"

#include <algorithm>

namespace serl_rt::wire {
namespace {

Value columns_value(const std::vector<Column>& columns) {
  Value::List list;
  for (const auto& [name, dtype, sizes] : columns) {
    Value::List shape(sizes.begin(), sizes.end());
    list.emplace_back(Value::List{name, dtype, std::move(shape)});
  }
  return list;
}

Column column_from(const Value& value) {
  const Value::List* entry = value.list();
  if (entry == nullptr || entry->size() != 3)
    throw WireError("a column is not [name, dtype, shape]");
  const std::string* dtype = (*entry)[1].text();
  const Value::List* sizes = (*entry)[2].list();
  Column column;
  column.name = check_name("a column's name", (*entry)[0]);
  if (dtype == nullptr) throw WireError("column " + column.name + ": the dtype is not text");
  column.dtype = *dtype;
  if (sizes == nullptr || sizes->size() > 4) {
    throw WireError("column " + column.name + ": the shape is not a list of up to 4 sizes");
  }
  for (const Value& size : *sizes) {
    column.shape.push_back(
        static_cast<int>(check_integer("a size of column " + column.name, size, 1, 65536)));
  }
  return column;
}

std::vector<Column> columns_from(const Value& value) {
  const Value::List* list = value.list();
  if (list == nullptr || list->empty() || list->size() > kMaxColumns) {
    throw WireError("columns is " + value.to_text() + "; expected a list of 1 to " +
                    std::to_string(kMaxColumns));
  }
  std::vector<Column> columns;
  for (const Value& entry : *list) {
    Column column = column_from(entry);
    const auto same = [&](const Column& other) { return other.name == column.name; };
    if (std::any_of(columns.begin(), columns.end(), same)) {
      throw WireError("column " + column.name + " occurs twice");
    }
    columns.push_back(std::move(column));
  }
  return columns;
}

// Rows of the sparse columns: how many of the `count` transitions start anew. Throws WireError when
// the column that says so is missing, repeated in another type, or not zeros and ones.
std::size_t count_starts(const std::vector<Column>& columns, std::size_t count,
                         const Frames& arrays) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].name != kStarts) continue;
    const BytesView flags = arrays[i];
    std::size_t starts = 0;
    bool valid = columns[i] == Column{std::string(kStarts), "u1", {}} && flags.size() == count;
    for (const std::byte flag : flags) {
      valid = valid && flag <= std::byte{1};
      starts += std::to_integer<std::size_t>(flag);
    }
    if (valid) return starts;
    throw WireError("column starts must be u1 of " + std::to_string(count) + " zeros and ones");
  }
  throw WireError("images under observation/ need the column starts, which is missing");
}

Transitions transitions_from(const Fields& fields, const Frames& frames) {
  Transitions message;
  message.run_id = fields.hex("run_id", 32);
  message.first_seq = fields.u64("first_seq");
  message.count = fields.u64("count", 1, kMaxCount);
  message.columns = columns_from(fields.at("columns"));
  expect_frames(fields, frames, 1 + message.columns.size());
  message.arrays.assign(frames.begin() + 1, frames.end());
  const bool sparse = std::any_of(message.columns.begin(), message.columns.end(), is_sparse);
  const std::size_t starts =
      sparse ? count_starts(message.columns, message.count, message.arrays) : 0;
  std::size_t total = 0;
  for (std::size_t i = 0; i < message.columns.size(); ++i) {
    const Column& column = message.columns[i];
    const std::size_t rows = is_sparse(column) ? starts : message.count;
    // In floating point, because the product of hostile sizes overflows an integer.
    double size = static_cast<double>(message.count) * 8.0;
    for (const int extent : column.shape) size *= extent;
    const BytesView array = message.arrays[i];
    if (size > 8.0 * kMaxBodyBytes || array.size() != rows * item_bytes(column)) {
      throw WireError("column " + column.name + " has " + std::to_string(array.size()) +
                      " bytes, which is not " + std::to_string(rows) +
                      " times its dtype and shape");
    }
    total += array.size();
  }
  if (total > kMaxBodyBytes) {
    throw WireError("transitions has " + std::to_string(total) + " bytes; at most " +
                    std::to_string(kMaxBodyBytes));
  }
  return message;
}

Policy policy_from(const Fields& fields, const Frames& frames) {
  expect_frames(fields, frames, 2);
  Policy message{fields.u64("version"),
                 fields.u64("size", 1, kMaxPolicyBytes),
                 fields.hex("sha256", 64),
                 frames[1],
                 0,
                 ""};
  if (fields.has("trunk_size") || fields.has("trunk_sha256")) {
    message.trunk_size = fields.u64("trunk_size", 1, message.size - 1);
    message.trunk_sha256 = fields.hex("trunk_sha256", 64);
  }
  if (message.data.size() != message.size &&
      message.data.size() != message.size - message.trunk_size) {
    throw WireError("the policy has " + std::to_string(message.data.size()) +
                    " bytes; its header says " + std::to_string(message.size) +
                    ", with a trunk of " + std::to_string(message.trunk_size));
  }
  return message;
}

}  // namespace

Bytes encode(const Hello& m) {
  return pack({{"type", "hello"},
               {"protocol", m.protocol},
               {"run_id", m.run_id},
               {"contract_id", m.contract_id},
               {"task", m.task},
               {"pacing", m.pacing},
               {"next_seq", m.next_seq}});
}

Bytes encode(const Transitions& m) {
  return pack({{"type", "transitions"},
               {"run_id", m.run_id},
               {"first_seq", m.first_seq},
               {"count", m.count},
               {"columns", columns_value(m.columns)}});
}

Bytes encode(const PolicyRequest& m) {
  Value::Map map{{"type", "policy_request"}, {"version", m.version}};
  if (!m.trunk_sha256.empty()) map.emplace_back("trunk_sha256", m.trunk_sha256);
  return pack(map);
}

Bytes encode(const PolicyResult& m) {
  return pack({{"type", "policy_result"},
               {"version", m.version},
               {"accepted", m.accepted},
               {"reason", m.reason},
               {"swap_ms", m.swap_ms}});
}

Bytes encode(const Heartbeat& m) { return pack({{"type", "heartbeat"}, {"run_id", m.run_id}}); }

Bytes encode(const Welcome& m) {
  return pack({{"type", "welcome"},
               {"protocol", m.protocol},
               {"learner_id", m.learner_id},
               {"run_id", m.run_id},
               {"next_seq", m.next_seq},
               {"credit", m.credit}});
}

Bytes encode(const Ack& m) {
  return pack({{"type", "ack"},
               {"run_id", m.run_id},
               {"next_seq", m.next_seq},
               {"credit", m.credit},
               {"resend", m.resend}});
}

Bytes encode(const PolicyOffer& m) {
  return pack({{"type", "policy_offer"},
               {"version", m.version},
               {"size", m.size},
               {"sha256", m.sha256},
               {"contract_id", m.contract_id}});
}

Bytes encode(const Policy& m) {
  Value::Map map{
      {"type", "policy"}, {"version", m.version}, {"size", m.size}, {"sha256", m.sha256}};
  if (m.trunk_size > 0) {
    map.emplace_back("trunk_size", m.trunk_size);
    map.emplace_back("trunk_sha256", m.trunk_sha256);
  }
  return pack(map);
}

Bytes encode(const HelloRequired&) { return pack({{"type", "hello_required"}}); }

Bytes encode(const Refused& m) { return pack({{"type", "refused"}, {"reason", m.reason}}); }

ControllerMessage decode_controller_message(const Frames& frames) {
  const Fields fields = header_of(frames);
  const std::string& type = fields.type();
  if (type == "transitions") return transitions_from(fields, frames);
  const auto single = [&] { expect_frames(fields, frames, 1); };
  if (type == "hello") {
    single();
    return Hello{static_cast<std::uint32_t>(fields.u64("protocol", 0, UINT32_MAX)),
                 fields.hex("run_id", 32),
                 fields.hex("contract_id", 64),
                 fields.name("task"),
                 fields.choice("pacing", {"lockstep", "realtime"}),
                 fields.u64("next_seq")};
  }
  if (type == "policy_request") {
    single();
    return PolicyRequest{fields.u64("version"),
                         fields.has("trunk_sha256") ? fields.hex("trunk_sha256", 64) : ""};
  }
  if (type == "policy_result") {
    single();
    return PolicyResult{fields.u64("version"), fields.flag("accepted"), fields.text("reason"),
                        fields.number("swap_ms")};
  }
  if (type == "heartbeat") {
    single();
    return Heartbeat{fields.hex("run_id", 32)};
  }
  unexpected(fields, "hello, transitions, policy_request, policy_result, heartbeat");
}

LearnerMessage decode_learner_message(const Frames& frames) {
  const Fields fields = header_of(frames);
  const std::string& type = fields.type();
  if (type == "policy") return policy_from(fields, frames);
  const auto single = [&] { expect_frames(fields, frames, 1); };
  if (type == "welcome") {
    single();
    return Welcome{static_cast<std::uint32_t>(fields.u64("protocol", 0, UINT32_MAX)),
                   fields.hex("learner_id", 32), fields.hex("run_id", 32), fields.u64("next_seq"),
                   fields.u64("credit")};
  }
  if (type == "ack") {
    single();
    return Ack{fields.hex("run_id", 32), fields.u64("next_seq"), fields.u64("credit"),
               fields.flag("resend")};
  }
  if (type == "policy_offer") {
    single();
    return PolicyOffer{fields.u64("version"), fields.u64("size", 1, kMaxPolicyBytes),
                       fields.hex("sha256", 64), fields.hex("contract_id", 64)};
  }
  if (type == "hello_required") {
    single();
    return HelloRequired{};
  }
  if (type == "refused") {
    single();
    return Refused{fields.text("reason")};
  }
  unexpected(fields, "welcome, ack, policy_offer, policy, hello_required, refused");
}

}  // namespace serl_rt::wire
