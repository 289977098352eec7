// Strict reading of TOML tables: every value has a type, a range and a place; a key that nobody
// asked for is an error. Errors name the file, the key, the value and what is allowed.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/types.hpp"

namespace serl_rt {

inline constexpr double kFullTurn = 6.283185307179586;  // [rad]

class ConfigTable {
 public:
  // Throws Error when the file cannot be read or is not TOML.
  static ConfigTable from_file(const std::filesystem::path& path);

  bool has(const std::string& key) const;

  // A sub-table; a missing one reads as empty (its required keys then fail).
  ConfigTable table(const std::string& key);
  std::vector<ConfigTable> tables(const std::string& key);

  // Each throws Error when the key is missing without a fallback, of another type or out of range.
  double number(const std::string& key, double low, double high,
                std::optional<double> fallback = std::nullopt);
  int integer(const std::string& key, int low, int high,
              std::optional<int> fallback = std::nullopt);
  bool boolean(const std::string& key, std::optional<bool> fallback = std::nullopt);
  // `choices` empty: any text.
  std::string text(const std::string& key, const std::vector<std::string>& choices = {},
                   std::optional<std::string> fallback = std::nullopt);
  // `size` 0: any length.
  std::vector<double> numbers(const std::string& key, std::size_t size, double low, double high,
                              std::optional<std::vector<double>> fallback = std::nullopt);

  template <int N>
  using Vector = Eigen::Matrix<double, N, 1>;
  template <int N>
  Vector<N> vector(const std::string& key, double low, double high,
                   const std::optional<Vector<N>>& fallback = std::nullopt) {
    std::optional<std::vector<double>> values;
    if (fallback) values.emplace(fallback->begin(), fallback->end());
    return Vector<N>(numbers(key, N, low, high, std::move(values)).data());
  }

  // The whole table as JSON, with `extra` added as a text under `key`; every key counts as asked
  // for.
  std::string json(const std::string& key, const std::string& extra);

  // Throws Error when the table holds a key that was never asked for.
  void finish() const;

  // Throws Error about the value of a key, for what concerns more than its range.
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;

 private:
  struct Document;
  ConfigTable(std::shared_ptr<const Document> document, const void* table, std::string name);
  double checked(const std::string& key, double value, double low, double high) const;

  std::shared_ptr<const Document> document_;
  const void* table_;  // toml::table, kept out of this header; null: the table is missing
  std::string name_;   // "contract.action[0]"
  std::set<std::string> asked_;
};

}  // namespace serl_rt
