#pragma once

#include <pybind11/pybind11.h>

namespace serl_rt {

void bind_sim_robot(pybind11::module_& module);

}  // namespace serl_rt
