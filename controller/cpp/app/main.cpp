// serl-rt-controller: the controller without Python.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "app/data_files.hpp"
#include "app/run_controller.hpp"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return serl_rt::run_controller(arguments, serl_rt::find_data_files());
}
