#include "app/run_controller.hpp"

#include <cstdio>
#include <exception>

#include "app/console.hpp"
#include "app/controller_app.hpp"
#include "app/signals.hpp"
#include "app/summary.hpp"
#include "policy/onnx_model.hpp"

namespace serl_rt {

int run_controller(std::span<const std::string> arguments, const Options& defaults) {
  int exit_status = 0;
  const auto options = parse_options(arguments, defaults, exit_status);
  if (!options) return exit_status;
  try {
    if (!options->onnxruntime.empty()) set_onnxruntime_hint(options->onnxruntime);
    const SignalGuard signals;
    ControllerApp app(*options);
    const Summary summary = app.run(signals);
    if (!options->summary.empty()) write_summary(summary, options->summary);
    if (!options->quiet) std::fprintf(stderr, "[control] %s\n", headline(summary).c_str());
    if (!summary.acknowledged) {
      warn("the learner has not acknowledged everything: " +
           std::to_string(summary.link.pushed - summary.link.acknowledged) +
           " transitions are lost");
      return 3;
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "serl-rt control: error: %s\n", error.what());
    return 1;
  }
}

}  // namespace serl_rt
