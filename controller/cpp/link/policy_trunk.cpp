#include "link/policy_trunk.hpp"

#include "core/error.hpp"
#include "policy/sha256.hpp"

namespace serl_rt {

BytesView PolicyTrunk::file_of(const wire::Policy& policy, Bytes& storage) const {
  if (policy.data.size() == policy.size) {
    const std::string found =
        policy.trunk_size > 0 ? sha256_hex(policy.data.first(policy.trunk_size)) : "";
    if (found == policy.trunk_sha256) return policy.data;
    throw Error("policy: damaged: the SHA-256 of its trunk is " + found + ", announced was " +
                policy.trunk_sha256);
  }
  if (policy.trunk_sha256 != sha256_ || policy.trunk_size != bytes_.size()) {
    throw Error(
        "policy: it came without its trunk " + policy.trunk_sha256 + " of " +
        std::to_string(policy.trunk_size) + " bytes; this controller holds " +
        (sha256_.empty() ? "none" : sha256_ + " of " + std::to_string(bytes_.size()) + " bytes"));
  }
  storage.reserve(policy.size);
  storage = bytes_;
  storage.insert(storage.end(), policy.data.begin(), policy.data.end());
  return storage;
}

void PolicyTrunk::keep(const wire::Policy& policy, BytesView file) {
  if (policy.trunk_size == 0 || policy.trunk_sha256 == sha256_) return;
  bytes_.assign(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(policy.trunk_size));
  sha256_ = policy.trunk_sha256;
}

}  // namespace serl_rt
