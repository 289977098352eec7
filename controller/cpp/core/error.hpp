// The one exception of the controller: something that came from outside is wrong, or a resource
// could not be had. The message names the value, what is allowed and what to do. Never thrown in
// the tick.
#pragma once

#include <stdexcept>

namespace serl_rt {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace serl_rt
