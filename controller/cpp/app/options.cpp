#include "app/options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "drivers/gripper_config.hpp"

namespace serl_rt {

std::optional<Options> parse_options(std::span<const std::string> arguments, Options defaults,
                                     int& exit_status) {
  Options o = std::move(defaults);
  CLI::App app{
      "Run the 1 kHz controller: policy, impedance law, limits, link to a learner.\n"
      "Ctrl-C stops it smoothly and leaves everything acknowledged or in the summary.",
      "serl-rt control"};
  app.get_formatter()->column_width(34);

  app.add_option("--task", o.task, "bundled task name, or path of a task file (.toml)")->required();
  app.add_option("--driver", o.driver,
                 "which robot: sim, franka (native libfranka), pylibfranka, or module:Class")
      ->capture_default_str();
  app.add_option("--robot-ip", o.robot_ip,
                 "address of the arm (default: ip in [robot] of the task)");
  app.add_option("--gripper", o.gripper,
                 "none, sim, franka or robotiq (default: kind in [gripper] of the task)")
      ->check(CLI::IsMember(kGripperKinds));
  app.add_option("--gripper-address", o.gripper_address,
                 "robotiq: tcp://HOST[:PORT] or rtu:DEVICE; franka: host of the hand, if it is not "
                 "the arm's (default: address in [gripper] of the task)");
  app.add_flag("--lockstep", o.lockstep,
               "simulated time, as fast as possible, paced by the learner (default: wall clock)");
  app.add_option("--learner", o.learner, "endpoint of the learner, e.g. tcp://127.0.0.1:5588");
  app.add_option("--policy", o.policy, "act with this ONNX policy file; no hot swap")
      ->check(CLI::ExistingFile);
  app.add_option("--policies", o.policies,
                 "folder that keeps the last good policies (default: runs/control/TASK/policies)");
  app.add_flag("--manual", o.manual,
               "start paused, with or without a policy: the arm follows an operator's targets");
  app.add_option("--reward", o.reward, "overrides the task file's [episode] reward")
      ->check(CLI::IsMember({"dense", "sparse", "classifier"}));
  app.add_option("--reward-classifier", o.reward_classifier,
                 "decide success by this ONNX file (serl-rt classifier) from the cameras' images")
      ->check(CLI::ExistingFile);
  app.add_option("--seed", o.seed, "seed of episodes and exploration noise")->capture_default_str();
  app.add_option("--episodes", o.episodes, "stop after this many episodes; 0: no limit")
      ->capture_default_str();
  app.add_option("--steps", o.steps, "stop after this many policy steps; 0: no limit")
      ->capture_default_str();
  app.add_option("--evaluate-every", o.evaluate_every,
                 "every n-th episode acts without noise; 0: never, 1: always")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  app.add_option("--evaluations", o.evaluations,
                 "of the n episodes of --evaluate-every the last so many act without noise")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--noise-scale", o.noise_scale, "multiplies the exploration noise")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  app.add_option("--cameras", o.cameras,
                 "endpoint that takes images from 'serl-rt cameras', e.g. tcp://127.0.0.1:5592; "
                 "default: the simulated cameras");
  app.add_option("--state", o.state_address, "endpoint that publishes the robot state, or none")
      ->capture_default_str();
  app.add_option("--commands", o.command_address, "endpoint that takes commands, or none")
      ->capture_default_str();
  app.add_option("--keys", o.keys,
                 "folder of CURVE keys (serl-rt keys); needed for any address but loopback");
  app.add_option("--summary", o.summary, "write a JSON summary here at the end");
  app.add_option("--drain-timeout", o.drain_timeout_s,
                 "at the end wait this long [s] for the learner's acknowledgements")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  app.add_option("--rt-priority", o.rt_priority,
                 "SCHED_FIFO priority of the control thread; 0: do not ask for it")
      ->check(CLI::Range(0, 99))
      ->capture_default_str();
  app.add_option("--cpu", o.cpu, "core of the control thread; -1: any")
      ->check(CLI::Range(-1, 1023))
      ->capture_default_str();
  app.add_option("--record", o.record,
                 "flight recorder: write files on a fault (default), also all the time, or not")
      ->check(CLI::IsMember({"fault", "continuous", "off"}));
  app.add_option("--record-folder", o.record_folder,
                 "folder of the recordings (default: runs/control/TASK/recordings)");
  app.add_option("--record-seconds", o.record_before_s,
                 "keep this much [s] in memory, and write it when there is a cause")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  app.add_option("--record-after", o.record_after_s, "write this much [s] after the cause")
      ->check(CLI::Range(0.0, 600.0))
      ->capture_default_str();
  app.add_option("--record-max-mb", o.record_max_mb,
                 "size of all recordings in the folder [MB]; the oldest are deleted")
      ->check(CLI::Range(1.0, 1e7))
      ->capture_default_str();
  app.add_option("--record-on", o.record_on, "faults that are a cause, or none")->delimiter(',');
  app.add_flag("--quiet", o.quiet, "print warnings and errors only");
  app.add_option("--tasks-dir", o.tasks_dir, "folder of the bundled task files")
      ->check(CLI::ExistingDirectory);
  app.add_option("--assets-dir", o.assets_dir, "folder of the simulated arm's MJCF")
      ->check(CLI::ExistingDirectory);
  app.add_option("--onnxruntime", o.onnxruntime, "ONNX Runtime library (libonnxruntime.so.*)")
      ->check(CLI::ExistingFile);

  // CLI11 takes the arguments in reverse order.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    exit_status = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  if (!std::isfinite(o.noise_scale) || !std::isfinite(o.drain_timeout_s)) {
    std::fprintf(stderr, "--noise-scale and --drain-timeout must be finite numbers\n");
    exit_status = 2;
    return std::nullopt;
  }
  if (o.evaluations > std::max(1, o.evaluate_every)) {
    std::fprintf(stderr, "--evaluations %d: must be from 1 to --evaluate-every (%d)\n",
                 o.evaluations, o.evaluate_every);
    exit_status = 2;
    return std::nullopt;
  }
  if (o.lockstep && !o.cameras.empty()) {
    std::fprintf(stderr, "--cameras works in real time only, not with --lockstep\n");
    exit_status = 2;
    return std::nullopt;
  }
  if (o.lockstep && !o.record.empty() && o.record != "off") {
    std::fprintf(stderr, "--record works in real time only, not with --lockstep\n");
    exit_status = 2;
    return std::nullopt;
  }
  if (o.manual && o.lockstep) {
    std::fprintf(stderr, "--manual needs the wall clock: leave out --lockstep\n");
    exit_status = 2;
    return std::nullopt;
  }
  return o;
}

}  // namespace serl_rt
