#include "link/policy_intake.hpp"

#include <cmath>
#include <utility>

namespace serl_rt {
namespace {

bool same(const wire::PolicyOffer& a, const wire::PolicyOffer& b) {
  return a.version == b.version && a.sha256 == b.sha256;
}

}  // namespace

PolicyIntake::PolicyIntake(std::string contract_id, PolicyHandler handler, WakeUp& finished)
    : contract_id_(std::move(contract_id)),
      handler_(std::move(handler)),
      finished_(finished),
      thread_([this] { run(); }) {}

PolicyIntake::~PolicyIntake() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void PolicyIntake::welcome(const std::string& learner_id) {
  requested_at_.reset();  // what was asked for before may be lost
  if (learner_id == learner_id_) return;
  learner_id_ = learner_id;
  new_learner_ = true;
  wanted_.reset();
  loading_.reset();  // its verdict would puzzle the new learner
  decided_.reset();
  outgoing_.clear();
}

void PolicyIntake::offer(const wire::PolicyOffer& offer) {
  if (decided_ && same(*decided_, offer)) {
    outgoing_.push_back(verdict_);  // a restarted learner offers it again
    return;
  }
  if ((wanted_ && same(*wanted_, offer)) || (loading_ && same(*loading_, offer))) return;
  ++counts_.offered;
  if (offer.contract_id != contract_id_) {
    conclude(offer, {offer.version, false,
                     "the policy is for contract " + offer.contract_id + ", this controller runs " +
                         contract_id_,
                     0.0});
    return;
  }
  wanted_ = offer;
  requested_at_.reset();
}

void PolicyIntake::receive(const wire::Policy& policy, Received message) {
  if (busy_ || !wanted_ || policy.version != wanted_->version || policy.sha256 != wanted_->sha256 ||
      policy.size != wanted_->size) {
    return;  // a newer one was offered meanwhile
  }
  loading_ = std::exchange(wanted_, std::nullopt);
  busy_ = true;
  requested_at_.reset();
  {
    const std::lock_guard lock(mutex_);
    job_.emplace(Job{policy, std::exchange(new_learner_, false), std::move(message)});
  }
  changed_.notify_one();
}

std::optional<wire::PolicyRequest> PolicyIntake::next_request(Time now) {
  if (busy_ || !wanted_) return std::nullopt;
  if (requested_at_ && now - *requested_at_ < kRequestPatience) return std::nullopt;
  requested_at_ = now;
  return wire::PolicyRequest{wanted_->version, held_trunk_};
}

std::optional<wire::PolicyResult> PolicyIntake::take_result() {
  std::optional<Judged> judged;
  if (busy_) {
    const std::lock_guard lock(mutex_);
    judged = std::exchange(judged_, std::nullopt);
  }
  if (judged) {
    busy_ = false;
    held_trunk_ = judged->trunk_sha256;
    if (const auto offer = std::exchange(loading_, std::nullopt)) conclude(*offer, judged->result);
  }
  if (outgoing_.empty()) return std::nullopt;
  wire::PolicyResult result = std::move(outgoing_.front());
  outgoing_.pop_front();
  return result;
}

void PolicyIntake::conclude(const wire::PolicyOffer& offer, wire::PolicyResult result) {
  ++(result.accepted ? counts_.accepted : counts_.refused);
  decided_ = offer;
  verdict_ = std::move(result);
  outgoing_.push_back(verdict_);
}

void PolicyIntake::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || job_; });
    if (stopping_ || !job_) return;
    const Job job = std::move(*job_);
    job_.reset();
    lock.unlock();
    PolicyOutcome outcome;
    try {
      outcome = judge(job);
    } catch (const std::exception& error) {
      outcome = {false, error.what(), 0.0};
    }
    lock.lock();
    judged_ = Judged{{job.policy.version, outcome.accepted, clean_text(outcome.reason),
                      std::isfinite(outcome.swap_ms) ? outcome.swap_ms : 0.0},
                     trunk_.sha256()};
    finished_.signal();
  }
}

PolicyOutcome PolicyIntake::judge(const Job& job) {
  Bytes storage;
  const BytesView file = trunk_.file_of(job.policy, storage);
  const PolicyOutcome outcome =
      handler_({job.policy.version, job.policy.sha256, file, job.new_learner});
  if (outcome.accepted) trunk_.keep(job.policy, file);
  return outcome;
}

}  // namespace serl_rt
