#include "policy/policy_manager.hpp"

#include <chrono>
#include <utility>

#include "core/error.hpp"
#include "policy/sha256.hpp"

namespace serl_rt {
namespace {

// Policies of different contracts do not push each other out of the store.
std::filesystem::path folder_of(const std::filesystem::path& store, const Contract& contract) {
  constexpr std::size_t kDigits = 12;  // of the contract id: enough to tell a robot's tasks apart
  return store / (contract.name + '-' + contract.id().substr(0, kDigits));
}

std::uint64_t version_in(const PolicySession& session, const std::filesystem::path& file) {
  const std::string text = session.metadata("version");
  try {
    return std::stoull(text);
  } catch (const std::exception&) {
    throw Error(file.string() + ": no version in its metadata; export it with serl-rt");
  }
}

}  // namespace

PolicyManager::PolicyManager(Contract contract, PolicyManagerOptions options)
    : contract_(std::move(contract)), options_(std::move(options)) {
  if (!options_.store.empty()) {
    store_ = std::make_unique<PolicyStore>(folder_of(options_.store, contract_), options_.keep);
  }
}

PolicyVerdict PolicyManager::offer(const PolicyOffer& offer) {
  const std::scoped_lock lock(mutex_);
  if (pinned_) {
    return refuse(offer.version, "pinned to version " + std::to_string(accepted_version_) +
                                     " by a rollback; follow the learner again to take new ones");
  }
  if (!any_version_ && offer.version <= accepted_version_) {
    return refuse(offer.version, "version " + std::to_string(offer.version) +
                                     " is not newer than version " +
                                     std::to_string(accepted_version_));
  }
  return take_over(offer, /*store=*/true);
}

PolicyVerdict PolicyManager::load_file(const std::filesystem::path& file) {
  const std::scoped_lock lock(mutex_);
  try {
    const std::vector<std::byte> bytes = read_file(file);
    const std::uint64_t version = version_in(PolicySession(bytes), file);
    return take_over({version, bytes.size(), sha256_hex(bytes), bytes}, /*store=*/false);
  } catch (const Error& error) {
    return refuse(0, error.what());
  }
}

PolicyVerdict PolicyManager::load_last_good() {
  const std::scoped_lock lock(mutex_);
  PolicyVerdict verdict{false, 0, "no policy is stored", 0.0};
  if (!store_) return verdict;
  for (const PolicyStore::Entry& entry : store_->entries()) {
    try {
      const std::vector<std::byte> bytes = store_->load(entry);
      verdict = take_over({entry.version, bytes.size(), entry.sha256, bytes}, /*store=*/false);
    } catch (const Error& error) {
      verdict = refuse(entry.version, error.what());
    }
    if (verdict.accepted) {
      any_version_ = true;  // the learner that comes may be another one than the one before
      return verdict;
    }
  }
  return verdict;
}

PolicyVerdict PolicyManager::rollback(std::uint64_t version) {
  const std::scoped_lock lock(mutex_);
  try {
    const auto entry = find_stored(version);
    if (!entry) return refuse(version, "no such version is stored; stored: " + stored_versions());
    const std::vector<std::byte> bytes = store_->load(*entry);
    // Stored again as the newest, so that a restart begins with it.
    PolicyVerdict verdict =
        take_over({entry->version, bytes.size(), entry->sha256, bytes}, /*store=*/true);
    set_pinned(pinned_ || verdict.accepted);
    return verdict;
  } catch (const Error& error) {
    return refuse(version, error.what());
  }
}

void PolicyManager::follow_learner() {
  const std::scoped_lock lock(mutex_);
  set_pinned(false);
}

void PolicyManager::set_pinned(bool pinned) {
  pinned_ = pinned;
  const std::scoped_lock lock(told_mutex_);
  told_.pinned = pinned;
}

void PolicyManager::new_learner() {
  const std::scoped_lock lock(mutex_);
  any_version_ = true;
}

void PolicyManager::collect() {
  // Whoever verifies now collects, too.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) slot_.collect();
}

PolicyStatus PolicyManager::status() const {
  const std::scoped_lock lock(told_mutex_);
  PolicyStatus status = told_;
  status.active_version = active_version_.load(std::memory_order_relaxed);
  status.swapped = swapped_.load(std::memory_order_relaxed);
  return status;
}

PolicyVerdict PolicyManager::take_over(const PolicyOffer& offer, bool store) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  PolicyVerdict verdict{true, offer.version, "", 0.0};
  try {
    slot_.offer(verify_policy(offer, contract_, options_.verify));
  } catch (const std::exception& error) {  // whatever it is, the current policy goes on
    return refuse(offer.version, error.what());
  }
  verdict.swap_ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  accepted_version_ = offer.version;
  any_version_ = false;
  {
    const std::scoped_lock lock(told_mutex_);
    told_.accepted_version = offer.version;
  }
  try {
    if (store && store_) store_->save(offer.bytes, offer.version, offer.sha256);
  } catch (const Error& error) {
    verdict.reason = error.what();
  }
  return verdict;
}

PolicyVerdict PolicyManager::refuse(std::uint64_t version, std::string reason) {
  const std::scoped_lock lock(told_mutex_);
  ++told_.refused;
  told_.last_refusal = reason;
  return {false, version, std::move(reason), 0.0};
}

std::string PolicyManager::stored_versions() const {
  std::string versions;
  if (!store_) return "none";
  for (const PolicyStore::Entry& entry : store_->entries()) {
    if (!versions.empty()) versions += ", ";
    versions += std::to_string(entry.version);
  }
  return versions.empty() ? "none" : versions;
}

// Version 0: the newest that is older than the current one.
std::optional<PolicyStore::Entry> PolicyManager::find_stored(std::uint64_t version) const {
  if (!store_) return std::nullopt;
  for (const PolicyStore::Entry& entry : store_->entries()) {
    const bool wanted = version == 0 ? entry.version < accepted_version_ : entry.version == version;
    if (wanted) return entry;
  }
  return std::nullopt;
}

}  // namespace serl_rt
