#include "app/summary.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace serl_rt {
namespace {

using Json = nlohmann::ordered_json;

double success_rate(const std::vector<EpisodeResult>& episodes) {
  if (episodes.empty()) return 0.0;
  const auto successes = std::count_if(episodes.begin(), episodes.end(),
                                       [](const EpisodeResult& e) { return e.success; });
  return static_cast<double>(successes) / static_cast<double>(episodes.size());
}

std::vector<EpisodeResult> evaluations(const std::vector<EpisodeResult>& episodes) {
  std::vector<EpisodeResult> chosen;
  std::copy_if(episodes.begin(), episodes.end(), std::back_inserter(chosen),
               [](const EpisodeResult& e) { return e.evaluation; });
  return chosen;
}

double ticks_per_s(const Summary& summary) {
  return summary.wall_s > 0.0 ? static_cast<double>(summary.timing.ticks) / summary.wall_s : 0.0;
}

Json percentiles_us(const HistogramSnapshot& histogram) {
  const auto us = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-3; };
  return {{"p50", us(histogram.percentile(0.5))},
          {"p99", us(histogram.percentile(0.99))},
          {"p999", us(histogram.percentile(0.999))},
          {"max", us(histogram.max())},
          {"count", histogram.count()}};
}

Json to_json(const std::vector<EpisodeResult>& episodes) {
  Json list = Json::array();
  for (const EpisodeResult& e : episodes) {
    list.push_back({{"episode", e.episode},
                    {"steps", e.steps},
                    {"return", e.episode_return},
                    {"success", e.success},
                    {"evaluation", e.evaluation},
                    {"policy_version", e.policy_version}});
  }
  return list;
}

Json to_json(const RobotStatus& robot) {
  Json recoveries = Json::array();
  for (const Recovery& r : robot.recent) {
    recoveries.push_back({{"name", r.name},
                          {"cause", r.cause},
                          {"begin_s", r.begin_s},
                          {"duration_s", r.duration_s}});
  }
  return {{"command_success_rate", robot.quality.success_rate},
          {"lost_cycles", robot.quality.lost_cycles},
          {"last_trouble", robot.last_trouble},
          {"reflexes", robot.reflexes},
          {"absences", robot.absences},
          {"recoveries", robot.recoveries},
          {"recent_recoveries", recoveries}};
}

Json faults(const FaultSnapshot& snapshot) {
  Json result = Json::object();
  for (std::size_t i = 0; i < snapshot.size(); ++i) {
    if (snapshot[i].count == 0) continue;
    result[std::string(to_string(static_cast<Fault>(i)))] = {{"count", snapshot[i].count},
                                                             {"last_value", snapshot[i].value},
                                                             {"limit", snapshot[i].limit}};
  }
  return result;
}

}  // namespace

std::string headline(const Summary& summary) {
  const auto evaluated = evaluations(summary.episodes);
  char text[256];
  std::snprintf(text, sizeof(text),
                "%zu episodes, %llu steps in %.1f s (%.0f ticks/s), success %.2f overall, %.2f of "
                "%zu evaluation episodes, %llu late ticks, %llu policies swapped, %llu refused",
                summary.episodes.size(), static_cast<unsigned long long>(summary.steps),
                summary.wall_s, ticks_per_s(summary), success_rate(summary.episodes),
                success_rate(evaluated), evaluated.size(),
                static_cast<unsigned long long>(summary.timing.late_ticks),
                static_cast<unsigned long long>(summary.policies.swapped),
                static_cast<unsigned long long>(summary.policies.refused));
  return text;
}

std::string to_json(const Summary& summary) {
  const auto evaluated = evaluations(summary.episodes);
  Json json = {
      {"task", summary.task},
      {"contract_id", summary.contract_id},
      {"pacing", summary.pacing},
      {"seed", summary.seed},
      {"wall_s", summary.wall_s},
      {"env_steps", summary.steps},
      {"success_rate", success_rate(summary.episodes)},
      {"evaluation_episodes", evaluated.size()},
      {"evaluation_success_rate", success_rate(evaluated)},
      {"ticks", summary.timing.ticks},
      {"ticks_per_s", ticks_per_s(summary)},
      {"late_ticks", summary.timing.late_ticks},
      {"late_steps", summary.late_steps},
      {"tick_us", percentiles_us(summary.timing.compute)},
      {"period_us", percentiles_us(summary.timing.period)},
      {"robot", to_json(summary.robot)},
      {"faults", faults(summary.faults)},
      {"policies",
       {{"active_version", summary.policies.active_version},
        {"swapped", summary.policies.swapped},
        {"refused", summary.policies.refused},
        {"last_refusal", summary.policies.last_refusal}}},
      {"link",
       {{"run_id", summary.link.run_id},
        {"pushed", summary.link.pushed},
        {"acknowledged", summary.link.acknowledged},
        {"resent", summary.link.resent},
        {"not_taken", summary.link.not_taken}}},
      {"acknowledged", summary.acknowledged},
      {"not_granted", summary.not_granted},
      {"episodes", to_json(summary.episodes)},
  };
  if (summary.classifier) {
    json["classifier_agreements"] = summary.classifier->agreements;
    json["classifier_disagreements"] = summary.classifier->disagreements;
    json["classifier_unjudged"] = summary.classifier->unjudged;
  }
  // A refusal may quote bytes of a file that are not UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

void write_summary(const Summary& summary, const std::filesystem::path& file) {
  const std::filesystem::path partial = file.string() + ".partial";
  std::error_code error;
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), error);
  std::ofstream out(partial, std::ios::trunc);
  out << to_json(summary) << '\n';
  out.close();
  if (out) std::filesystem::rename(partial, file, error);
  if (!out || error) throw Error("the summary could not be written to " + file.string());
}

}  // namespace serl_rt
