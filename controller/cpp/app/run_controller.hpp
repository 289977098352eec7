// The program from its arguments to its exit status.
#pragma once

#include <span>
#include <string>

#include "app/options.hpp"

namespace serl_rt {

// Parses the arguments, runs, writes the summary. The exit status of the program.
int run_controller(std::span<const std::string> arguments, const Options& defaults);

}  // namespace serl_rt
