// What the program tells people while it runs: each piece of news once.
#pragma once

#include <string>

#include "app/flight_recorder.hpp"
#include "link/camera_receiver.hpp"
#include "link/link.hpp"
#include "policy/policy_manager.hpp"

namespace serl_rt {

void warn(const std::string& sentence);

// One thread. Remembers what it has printed.
class Console {
 public:
  void tell(const PolicyStatus& policies);
  void tell(const CameraStats& cameras);
  void tell(const LinkStats& link);
  void tell(const RecorderStatus& recorder);

 private:
  std::string policy_refusal_;
  std::string image_refusal_;
  std::string learner_refusal_;
  std::string recording_;
  std::string recorder_failure_;
};

}  // namespace serl_rt
