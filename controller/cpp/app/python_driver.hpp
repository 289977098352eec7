// A robot driver written in Python, behind RobotDriver.
#pragma once

#include <pybind11/pybind11.h>
#include <memory>

#include "drivers/driver.hpp"

namespace serl_rt {

// Drives `object`, which has serl_rt.controller.driver.Driver's methods. Called with the GIL held;
// the result may be used and destroyed without.
std::unique_ptr<RobotDriver> make_python_driver(pybind11::object object);

}  // namespace serl_rt
