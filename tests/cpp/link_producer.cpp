// A controller that only makes transitions: tests and benchmarks of the link to the learner run it.
// Every value follows from the transition's number, so that a test can tell what must arrive.
// Prints its run id, and at the end what happened, one JSON object a line.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <thread>

#include "link/link.hpp"

namespace {

using namespace serl_rt;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Options {
  LinkConfig link;
  std::string keys;
  std::string fields = "tcp_position:3,tcp_linear_vel:3,gripper:1,cube_position:3,tcp_to_cube:3";
  std::string images;  // e.g. front:128x128,wrist:128x128
  int action = 4;
  std::uint64_t count = 1000;
  double rate_hz = 0.0;  // 0: as fast as possible
  int drain_ms = 60000;
  std::string policy = "accept";  // accept | refuse | throw
  int policy_ms = 0;
  std::uint64_t policies = 0;  // wait for so many verdicts before the end
};

std::vector<TransitionLayout::Field> parse_fields(const std::string& text) {
  std::vector<TransitionLayout::Field> fields;
  std::istringstream stream(text);
  for (std::string entry; std::getline(stream, entry, ',');) {
    const std::size_t colon = entry.find(':');
    fields.push_back({entry.substr(0, colon), {std::stoi(entry.substr(colon + 1))}});
  }
  return fields;
}

std::vector<TransitionLayout::Field> parse_images(const std::string& text) {
  std::vector<TransitionLayout::Field> images;
  std::istringstream stream(text);
  for (std::string entry; std::getline(stream, entry, ',');) {
    const std::size_t colon = entry.find(':');
    const std::size_t by = entry.find('x', colon);
    images.push_back({entry.substr(0, colon),
                      {std::stoi(entry.substr(colon + 1)), std::stoi(entry.substr(by + 1)), 3}});
  }
  return images;
}

// Episodes of 50; transition i ends with images of 2 i + 1 everywhere, modulo 251.
constexpr std::uint64_t kEpisode = 50;

void fill_images(std::uint64_t index, Bytes& before, Bytes& after) {
  const std::uint64_t first = index % kEpisode == 0 ? 2 * index : 2 * index - 1;
  std::fill(before.begin(), before.end(), std::byte(first % 251));
  std::fill(after.begin(), after.end(), std::byte((2 * index + 1) % 251));
}

float value(std::uint64_t index, std::uint64_t component, std::uint64_t salt) {
  return static_cast<float>((index * 31 + component * 7 + salt) % 65521);
}

Transition make_transition(std::uint64_t index, const TransitionLayout& layout) {
  Transition t;
  for (int j = 0; j < layout.observation_size(); ++j) {
    const auto component = static_cast<std::size_t>(j);
    t.observation[component] = value(index, component, 1);
    t.next_observation[component] = value(index, component, 2);
  }
  for (int j = 0; j < layout.action_size(); ++j) {
    t.action[static_cast<std::size_t>(j)] = value(index, static_cast<std::uint64_t>(j), 3);
  }
  t.reward = value(index, 0, 4);
  t.grasp_penalty = value(index, 0, 5);
  t.episode = static_cast<std::uint32_t>(index / kEpisode);
  t.step = static_cast<std::uint32_t>(index % kEpisode);
  t.policy_version = index / 1000;
  t.time_ns = static_cast<std::int64_t>(index) * 100'000'000;
  t.terminated = index % 50 == 49;
  t.truncated = index % 100 == 99;
  t.success = index % 3 == 0;
  t.intervention = index % 5 == 0;
  t.evaluation = index % 7 == 0;
  return t;
}

PolicyOutcome judge(const Options& options, const ReceivedPolicy& policy) {
  std::this_thread::sleep_for(milliseconds(options.policy_ms));
  std::printf("{\"policy\": %llu, \"size\": %zu, \"new_learner\": %s}\n",
              static_cast<unsigned long long>(policy.version), policy.data.size(),
              policy.new_learner ? "true" : "false");
  std::fflush(stdout);
  if (options.policy == "throw") throw Error("the handler failed on purpose");
  if (options.policy == "refuse") return {false, "refused on purpose", 1.0};
  return {true, "", 1.5};
}

// Pushes everything; in lockstep only what the learner allows.
void produce(const Options& options, const TransitionLayout& layout, Link& link) {
  Bytes before(layout.image_bytes());
  Bytes after(layout.image_bytes());
  const Clock::time_point start = Clock::now();
  for (std::uint64_t index = 0; index < options.count; ++index) {
    if (options.link.lockstep) {
      while (!link.wait_for_credit(index, milliseconds(1000))) continue;
    }
    const Transition transition = make_transition(index, layout);
    fill_images(index, before, after);
    while (!link.push(transition, {before, after}))
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (options.rate_hz > 0.0) {
      const std::chrono::duration<double> due(static_cast<double>(index + 1) / options.rate_hz);
      std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(due));
    }
  }
}

void print_stats(const LinkStats& stats, bool drained, double seconds) {
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "{\"drained\": %s, \"seconds\": %.6f, \"pushed\": %llu, \"not_taken\": %llu, "
      "\"sent\": %llu, \"resent\": %llu, \"acknowledged\": %llu, \"credit\": %llu, "
      "\"welcomes\": %llu, \"malformed\": %llu, \"offered\": %llu, \"accepted\": %llu, "
      "\"refused\": %llu, \"refusal\": \"%s\"}\n",
      drained ? "true" : "false", seconds, number(stats.pushed), number(stats.not_taken),
      number(stats.sent), number(stats.resent), number(stats.acknowledged), number(stats.credit),
      number(stats.welcomes), number(stats.malformed), number(stats.policies.offered),
      number(stats.policies.accepted), number(stats.policies.refused), stats.refusal.c_str());
  std::fflush(stdout);
}

int run(const Options& options) {
  const TransitionLayout layout(parse_fields(options.fields), options.action,
                                parse_images(options.images));
  Link link(Messaging::create(options.keys), options.link, layout,
            [&](const ReceivedPolicy& policy) { return judge(options, policy); });
  std::printf("{\"run_id\": \"%s\"}\n", link.run_id().c_str());
  std::fflush(stdout);

  const Clock::time_point start = Clock::now();
  produce(options, layout, link);
  const bool drained = link.drain(milliseconds(options.drain_ms));
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();

  const auto verdicts = [&] {
    const PolicyCounts counts = link.stats().policies;
    return counts.accepted + counts.refused;
  };
  const Clock::time_point deadline = Clock::now() + milliseconds(options.drain_ms);
  while (verdicts() < options.policies && Clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  print_stats(link.stats(), drained, seconds);
  return drained ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.link.contract_id = std::string(64, 'c');
  options.link.task = "produced";
  std::int64_t resend_ms = options.link.outbox.resend_after.count();
  std::int64_t timeout_ms = options.link.learner_timeout.count();

  CLI::App app("Makes numbered transitions and sends them to a learner");
  app.add_option("--endpoint", options.link.endpoint);
  app.add_option("--contract-id", options.link.contract_id);
  app.add_option("--keys", options.keys);
  app.add_option("--fields", options.fields, "observation fields, name:size,...");
  app.add_option("--images", options.images, "images, name:HEIGHTxWIDTH,...");
  app.add_option("--action", options.action, "components of the action");
  app.add_option("--count", options.count);
  app.add_option("--rate", options.rate_hz, "transitions per second; 0: as fast as possible");
  app.add_flag("--lockstep", options.link.lockstep, "wait for the learner's credit");
  app.add_option("--spool-bytes", options.link.outbox.spool_bytes);
  app.add_option("--batch", options.link.outbox.batch);
  app.add_option("--resend-ms", resend_ms);
  app.add_option("--timeout-ms", timeout_ms, "silence after which the learner counts as lost");
  app.add_option("--drain-ms", options.drain_ms);
  app.add_option("--policy", options.policy)->check(CLI::IsMember({"accept", "refuse", "throw"}));
  app.add_option("--policy-ms", options.policy_ms, "how long a policy's verification takes");
  app.add_option("--policies", options.policies, "wait for so many verdicts before the end");
  CLI11_PARSE(app, argc, argv);
  options.link.outbox.resend_after = milliseconds(resend_ms);
  options.link.learner_timeout = milliseconds(timeout_ms);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::cerr << "link_producer: " << error.what() << "\n";
    return 2;
  }
}
