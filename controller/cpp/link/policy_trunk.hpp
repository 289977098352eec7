// The beginning of a policy file that the policies after it share: the weights of a frozen image
// encoder. Held so that the learner sends them once, and then only what changed.
#pragma once

#include <string>

#include "link/wire.hpp"

namespace serl_rt {

// One thread at a time. It is in memory only: a controller that was restarted holds none, says so
// when it asks for a policy, and gets the whole file.
class PolicyTrunk {
 public:
  // The whole file that a message brings; `storage` holds it where only a rest came. Throws Error
  // when the rest is of another trunk than is held, or the trunk that came is not the announced.
  BytesView file_of(const wire::Policy& policy, Bytes& storage) const;

  // Holds the trunk of a whole file from file_of() instead of the one before; no trunk changes
  // nothing.
  void keep(const wire::Policy& policy, BytesView file);

  const std::string& sha256() const noexcept { return sha256_; }  // empty: none is held

 private:
  Bytes bytes_;
  std::string sha256_;
};

}  // namespace serl_rt
