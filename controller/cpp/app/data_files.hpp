// Where the native program finds task files, models and the ONNX Runtime library without Python.
#pragma once

#include "app/options.hpp"

namespace serl_rt {

// Looks, in this order, into $SERL_RT_DATA (a folder with controller/tasks and sim/assets), the
// Python environment that this executable is installed in, and the source tree it was built from.
Options find_data_files();

}  // namespace serl_rt
