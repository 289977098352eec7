#include "app/console.hpp"

#include <cstdio>

namespace serl_rt {
namespace {

// Whether `now` is another text than the one that was told before; remembers it.
bool is_news(std::string& told, const std::string& now) {
  if (told == now) return false;
  told = now;
  return true;
}

}  // namespace

void warn(const std::string& sentence) {
  std::fprintf(stderr, "[control] warning: %s\n", sentence.c_str());
}

void Console::tell(const PolicyStatus& policies) {
  if (is_news(policy_refusal_, policies.last_refusal)) {
    warn("a policy was refused: " + policies.last_refusal);
  }
}

void Console::tell(const CameraStats& cameras) {
  if (is_news(image_refusal_, cameras.last_refusal)) {
    warn("an image was refused: " + cameras.last_refusal);
  }
}

void Console::tell(const LinkStats& link) {
  if (is_news(learner_refusal_, link.refusal) && !link.refusal.empty()) {
    warn("the learner refuses this controller: " + link.refusal);
  }
}

void Console::tell(const RecorderStatus& recorder) {
  if (is_news(recording_, recorder.last_file)) {
    std::fprintf(stderr, "[control] recorded (%s): %s\n", recorder.last_cause.c_str(),
                 recorder.last_file.c_str());
  }
  if (is_news(recorder_failure_, recorder.failure) && !recorder.failure.empty()) {
    warn("nothing was recorded: " + recorder.failure);
  }
}

}  // namespace serl_rt
