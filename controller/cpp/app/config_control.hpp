// The tables of a task file that set the controller: [impedance], [joint_impedance], [control],
// [limits], [wrench].
#pragma once

#include "app/config_table.hpp"
#include "core/controller_config.hpp"

namespace serl_rt {

// `period_s`: of the policy. Throws Error naming the file, the key and what is allowed.
ControllerConfig read_control(ConfigTable& root, double period_s);

}  // namespace serl_rt
