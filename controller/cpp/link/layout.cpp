#include "link/layout.hpp"

#include <bit>
#include <cstring>

namespace serl_rt {
namespace {

static_assert(std::endian::native == std::endian::little, "rows are copied as they lie in memory");

std::size_t elements(const std::vector<int>& shape) {
  std::size_t product = 1;
  for (const int size : shape) product *= static_cast<std::size_t>(size);
  return product;
}

template <class T>
std::byte* put(std::byte* at, const T& value) noexcept {
  std::memcpy(at, &value, sizeof(T));
  return at + sizeof(T);
}

std::byte* put_floats(std::byte* at, const float* values, int count) noexcept {
  const std::size_t size = static_cast<std::size_t>(count) * sizeof(float);
  std::memcpy(at, values, size);
  return at + size;
}

template <class T>
const std::byte* take(const std::byte* at, T& value) noexcept {
  std::memcpy(&value, at, sizeof(T));
  return at + sizeof(T);
}

const std::byte* take_flag(const std::byte* at, bool& value) noexcept {
  value = *at != std::byte{0};
  return at + 1;
}

const std::byte* take_floats(const std::byte* at, float* values, int count) noexcept {
  const std::size_t size = static_cast<std::size_t>(count) * sizeof(float);
  std::memcpy(values, at, size);
  return at + size;
}

std::byte* put_flag(std::byte* at, bool value) noexcept {
  *at = std::byte{value};
  return at + 1;
}

void check_size(const char* what, std::size_t size, int largest) {
  if (size < 1 || size > static_cast<std::size_t>(largest)) {
    throw Error(std::string("transition layout: ") + what + " has " + std::to_string(size) +
                " values; 1 to " + std::to_string(largest) + " are supported");
  }
}

}  // namespace

std::size_t item_bytes(const Column& column) {
  std::size_t element = 0;
  if (column.dtype == "u1") {
    element = 1;
  } else if (column.dtype == "f4" || column.dtype == "u4") {
    element = 4;
  } else if (column.dtype == "f8" || column.dtype == "u8" || column.dtype == "i8") {
    element = 8;
  } else {
    throw WireError("column " + column.name + " has dtype \"" + column.dtype.substr(0, 20) +
                    "\"; expected f4, f8, u1, u4, u8 or i8");
  }
  return element * elements(column.shape);
}

bool is_sparse(const Column& column) noexcept {
  return column.dtype == "u1" && column.name.starts_with("observation/");
}

TransitionLayout::TransitionLayout(const std::vector<Field>& observation, int action_size,
                                   const std::vector<Field>& images)
    : action_size_(action_size) {
  std::size_t observation_size = 0;
  for (const Field& field : observation) observation_size += elements(field.shape);
  check_size("the observation", observation_size, Transition::kMaxObservation);
  check_size("the action", static_cast<std::size_t>(action_size), Transition::kMaxAction);
  observation_size_ = static_cast<int>(observation_size);

  for (const char* group : {"observation/", "next_observation/"}) {
    for (const Field& field : observation) {
      columns_.push_back({group + field.name, "f4", field.shape});
    }
  }
  columns_.push_back({"action", "f4", {action_size}});
  for (const auto& [name, dtype] :
       std::initializer_list<std::pair<const char*, const char*>>{{"reward", "f4"},
                                                                  {"terminated", "u1"},
                                                                  {"truncated", "u1"},
                                                                  {"success", "u1"},
                                                                  {"intervention", "u1"},
                                                                  {"grasp_penalty", "f4"},
                                                                  {"evaluation", "u1"},
                                                                  {"episode", "u4"},
                                                                  {"step", "u4"},
                                                                  {"policy_version", "u8"},
                                                                  {"time_ns", "i8"}}) {
    columns_.push_back({name, dtype, {}});
  }
  row_columns_ = columns_.size();
  if (!images.empty()) columns_.push_back({std::string(kStarts), "u1", {}});
  for (const char* group : {"observation/", "next_observation/"}) {
    for (const Field& image : images) columns_.push_back({group + image.name, "u1", image.shape});
  }
  if (columns_.size() > kMaxColumns) {
    throw Error("transition layout: " + std::to_string(observation.size()) +
                " observation fields give " + std::to_string(columns_.size()) +
                " columns; at most " + std::to_string(kMaxColumns));
  }
  for (const Column& column : columns_) {
    item_bytes_.push_back(item_bytes(column));
    if (item_bytes_.size() <= row_columns_) row_bytes_ += item_bytes_.back();
    if (is_sparse(column)) image_bytes_ += item_bytes_.back();
  }
  if (2 * image_bytes_ + row_bytes_ + 1 > kMaxBodyBytes) {
    throw Error("transition layout: the images of one step have " + std::to_string(image_bytes_) +
                " bytes; two such steps must fit into a message of " +
                std::to_string(kMaxBodyBytes) + ": use smaller images");
  }
}

// The order of both functions is that of the columns above; the fields of an observation lie one
// after the other in it.
void TransitionLayout::write_row(const Transition& t, std::byte* row) const noexcept {
  row = put_floats(row, t.observation.data(), observation_size_);
  row = put_floats(row, t.next_observation.data(), observation_size_);
  row = put_floats(row, t.action.data(), action_size_);
  row = put(row, t.reward);
  row = put_flag(row, t.terminated);
  row = put_flag(row, t.truncated);
  row = put_flag(row, t.success);
  row = put_flag(row, t.intervention);
  row = put(row, t.grasp_penalty);
  row = put_flag(row, t.evaluation);
  row = put(row, t.episode);
  row = put(row, t.step);
  row = put(row, t.policy_version);
  put(row, t.time_ns);
}

Transition TransitionLayout::read_row(const std::byte* row) const noexcept {
  Transition t;
  row = take_floats(row, t.observation.data(), observation_size_);
  row = take_floats(row, t.next_observation.data(), observation_size_);
  row = take_floats(row, t.action.data(), action_size_);
  row = take(row, t.reward);
  row = take_flag(row, t.terminated);
  row = take_flag(row, t.truncated);
  row = take_flag(row, t.success);
  row = take_flag(row, t.intervention);
  row = take(row, t.grasp_penalty);
  row = take_flag(row, t.evaluation);
  row = take(row, t.episode);
  row = take(row, t.step);
  row = take(row, t.policy_version);
  take(row, t.time_ns);
  return t;
}

void PackedColumns::start(const TransitionLayout& layout, std::size_t count, std::size_t starts) {
  const bool images = layout.image_bytes() > 0;
  body_.resize(count * (layout.row_bytes() + (images ? 1 : 0)) +
               (count + starts) * layout.image_bytes());
  count_ = count;
  frames_.clear();
  ends_.clear();
  std::byte* at = body_.data();
  for (std::size_t column = 0; column < layout.columns().size(); ++column) {
    const std::size_t rows = is_sparse(layout.columns()[column]) ? starts : count;
    const std::size_t size = rows * layout.column_bytes(column);
    frames_.emplace_back(at, size);
    ends_.push_back(at);
    at += size;
  }
}

void PackedColumns::append(std::size_t column, const std::byte* data, std::size_t size) noexcept {
  std::memcpy(ends_[column], data, size);
  ends_[column] += size;
}

void PackedColumns::add(const TransitionLayout& layout, const std::byte* row,
                        const StepImages& images) noexcept {
  std::size_t column = 0;
  for (; column < layout.row_columns(); ++column) {
    append(column, row, layout.column_bytes(column));
    row += layout.column_bytes(column);
  }
  if (layout.image_bytes() == 0) return;
  const std::byte starts{!images.observation.empty()};
  append(column++, &starts, 1);
  const std::size_t cameras = (layout.columns().size() - column) / 2;
  for (const BytesView group : {images.observation, images.next}) {
    const std::byte* image = group.data();
    for (std::size_t i = 0; i < cameras; ++i, ++column) {
      if (group.empty()) continue;
      append(column, image, layout.column_bytes(column));
      image += layout.column_bytes(column);
    }
  }
}

}  // namespace serl_rt
