// What a failure of libfranka means, for both drivers: the native one and the one in Python.
#pragma once

#include <string>
#include <string_view>

#include "drivers/driver.hpp"

namespace serl_rt {

// An exception of libfranka: its class name ("NetworkException", ...) and its text. `ip` is the
// robot's address. A class that is not libfranka's is kUnusable, with its text.
Trouble franka_failure(std::string_view exception, const std::string& text, const std::string& ip);

// A robot that was found in this mode ("Idle", "Reflex", "UserStopped", ...: RobotMode without the
// k) when control should begin. kNone: it can; kReflex: after an automatic error recovery.
Trouble franka_mode(std::string_view mode);

}  // namespace serl_rt
