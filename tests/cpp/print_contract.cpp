// Reads contracts as JSON, one a line, and prints for each the canonical text and the id, or the
// reason why it is refused. A Python test compares them with its own.
#include <iostream>
#include <string>

#include "core/error.hpp"
#include "policy/contract.hpp"

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    try {
      const serl_rt::Contract contract = serl_rt::contract_from_json(line);
      std::cout << contract.canonical_json() << '\n' << contract.id() << '\n';
    } catch (const serl_rt::Error& error) {
      std::cout << "refused\n" << error.what() << '\n';
    }
  }
  return 0;
}
