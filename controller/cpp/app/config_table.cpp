#include "app/config_table.hpp"

#include <toml++/toml.h>
#include <cmath>
#include <sstream>
#include <utility>

#include "core/error.hpp"

namespace serl_rt {

struct ConfigTable::Document {
  std::string file;
  toml::table root;
};

namespace {

const toml::node* find(const void* table, const std::string& key) {
  return table == nullptr ? nullptr : static_cast<const toml::table*>(table)->get(key);
}

std::string printed(const toml::node& node) {
  std::ostringstream text;
  node.visit([&text](const auto& value) {
    if constexpr (toml::is_table<decltype(value)>) {
      text << "a table";
    } else {
      text << value;
    }
  });
  return text.str();
}

std::string shortest(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

template <typename Items>
std::string joined(const Items& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

}  // namespace

ConfigTable::ConfigTable(std::shared_ptr<const Document> document, const void* table,
                         std::string name)
    : document_(std::move(document)), table_(table), name_(std::move(name)) {}

ConfigTable ConfigTable::from_file(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) {
    throw Error(path.string() + ": there is no such file");
  }
  try {
    auto document =
        std::make_shared<const Document>(Document{path.string(), toml::parse_file(path.string())});
    const void* root = &document->root;
    return ConfigTable(std::move(document), root, "");
  } catch (const toml::parse_error& error) {
    std::ostringstream text;
    text << path.string() << ":" << error.source().begin.line
         << ": not valid TOML: " << error.description();
    throw Error(text.str());
  }
}

void ConfigTable::fail(const std::string& key, const std::string& problem) const {
  throw Error(document_->file + ": " + (name_.empty() ? key : name_ + "." + key) + ": " + problem);
}

bool ConfigTable::has(const std::string& key) const { return find(table_, key) != nullptr; }

ConfigTable ConfigTable::table(const std::string& key) {
  asked_.insert(key);
  const toml::node* node = find(table_, key);
  if (node != nullptr && !node->is_table()) fail(key, "must be a table, but is " + printed(*node));
  return ConfigTable(document_, node == nullptr ? nullptr : node->as_table(),
                     name_.empty() ? key : name_ + "." + key);
}

std::vector<ConfigTable> ConfigTable::tables(const std::string& key) {
  asked_.insert(key);
  const toml::node* node = find(table_, key);
  std::vector<ConfigTable> result;
  if (node == nullptr) return result;
  const toml::array* array = node->as_array();
  if (array == nullptr) fail(key, "must be a list of tables ([[" + key + "]])");
  for (const toml::node& element : *array) {
    const std::string index = "[" + std::to_string(result.size()) + "]";
    if (!element.is_table()) fail(key + index, "must be a table, but is " + printed(element));
    result.push_back(ConfigTable(document_, element.as_table(),
                                 (name_.empty() ? key : name_ + "." + key) + index));
  }
  return result;
}

double ConfigTable::checked(const std::string& key, double value, double low, double high) const {
  if (!std::isfinite(value) || value < low || value > high) {
    fail(key, shortest(value) + " is outside [" + shortest(low) + ", " + shortest(high) + "]");
  }
  return value;
}

double ConfigTable::number(const std::string& key, double low, double high,
                           std::optional<double> fallback) {
  asked_.insert(key);
  const toml::node* node = find(table_, key);
  if (node == nullptr) {
    if (fallback) return *fallback;
    fail(key, "is missing; a number in [" + shortest(low) + ", " + shortest(high) + "] is needed");
  }
  const auto value = node->value<double>();
  if (!node->is_number() || !value) fail(key, "must be a number, but is " + printed(*node));
  return checked(key, *value, low, high);
}

int ConfigTable::integer(const std::string& key, int low, int high, std::optional<int> fallback) {
  asked_.insert(key);
  const toml::node* node = find(table_, key);
  if (node == nullptr && fallback) return *fallback;
  if (node == nullptr) fail(key, "is missing; a whole number is needed");
  if (!node->is_integer()) fail(key, "must be a whole number, but is " + printed(*node));
  return static_cast<int>(checked(key, static_cast<double>(node->as_integer()->get()), low, high));
}

bool ConfigTable::boolean(const std::string& key, std::optional<bool> fallback) {
  asked_.insert(key);
  const toml::node* node = find(table_, key);
  if (node == nullptr && fallback) return *fallback;
  if (node == nullptr) fail(key, "is missing; true or false is needed");
  if (!node->is_boolean()) fail(key, "must be true or false, but is " + printed(*node));
  return node->as_boolean()->get();
}

std::string ConfigTable::text(const std::string& key, const std::vector<std::string>& choices,
                              std::optional<std::string> fallback) {
  asked_.insert(key);
  const std::string allowed = choices.empty() ? "a text" : "one of " + joined(choices);
  const toml::node* node = find(table_, key);
  if (node == nullptr && fallback) return *fallback;
  if (node == nullptr) fail(key, "is missing; " + allowed + " is needed");
  if (!node->is_string()) fail(key, "must be " + allowed + ", but is " + printed(*node));
  const std::string& value = node->as_string()->get();
  for (const std::string& choice : choices) {
    if (choice == value) return value;
  }
  if (!choices.empty()) fail(key, "'" + value + "' is not " + allowed);
  return value;
}

std::vector<double> ConfigTable::numbers(const std::string& key, std::size_t size, double low,
                                         double high, std::optional<std::vector<double>> fallback) {
  asked_.insert(key);
  const std::string wanted =
      "a list of " + (size == 0 ? std::string() : std::to_string(size) + " ") + "numbers";
  const toml::node* node = find(table_, key);
  if (node == nullptr && fallback) return *fallback;
  if (node == nullptr) fail(key, "is missing; " + wanted + " is needed");
  const toml::array* array = node->as_array();
  if (array == nullptr || (size != 0 && array->size() != size)) {
    fail(key, "must be " + wanted + ", but is " + printed(*node));
  }
  std::vector<double> values;
  for (const toml::node& element : *array) {
    const auto value = element.value<double>();
    if (!element.is_number() || !value) {
      fail(key, "must be " + wanted + ", but holds " + printed(element));
    }
    values.push_back(checked(key, *value, low, high));
  }
  return values;
}

std::string ConfigTable::json(const std::string& key, const std::string& extra) {
  toml::table copy = table_ == nullptr ? toml::table{} : *static_cast<const toml::table*>(table_);
  for (const auto& [name, value] : copy) asked_.insert(std::string(name.str()));
  copy.insert_or_assign(key, extra);
  std::ostringstream text;
  text << toml::json_formatter{copy};
  return text.str();
}

void ConfigTable::finish() const {
  if (table_ == nullptr) return;
  for (const auto& [key, value] : *static_cast<const toml::table*>(table_)) {
    const std::string name(key.str());
    if (!asked_.contains(name)) {
      fail(name, "is not a known key; allowed here: " + joined(asked_));
    }
  }
}

}  // namespace serl_rt
