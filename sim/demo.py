"""`serl-rt demo`: the main job, end to end, in simulation.

Records scripted demonstrations, starts a learner and a controller as two processes, watches the
policy improve while it is swapped, then judges the final policy and leaves a table, a plot and a
clip in the run folder.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.demonstrations import save_demonstrations
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import OnnxPolicy
from serl_rt.sim.envs import Action, Observation, SimArmEnv
from serl_rt.sim.metrics import MetricsFollower
from serl_rt.sim.processes import Process, ProcessFailed, free_port, serl_rt
from serl_rt.sim.record import record_demonstrations
from serl_rt.sim.report import plot_learning, write_clip

WANTED_SUCCESS = 0.9
CLIP_EPISODES = 3
MARKER = ".serl-rt-demo"
"""File that says that a folder is a demo's and may be cleared by the next."""
EVALUATION_SEED = 1_000_000
"""Added to the seed: evaluation episodes start where no training episode did."""


@dataclass(frozen=True)
class Scenario:
    """What a task with a kind of reward is learned with."""

    recipe: str
    demonstrations: int
    evaluate_every: int
    """Of so many episodes the last act without noise."""
    evaluations: int = 1
    """How many of them. With images they are nearly free in simulated time, because the controller
    waits for the learner anyway, and the sooner enough of them succeeded, the sooner it stops."""
    max_env_steps: int | None = None
    """In place of the recipe's."""


SCENARIOS = {
    ("pick_cube", "dense"): Scenario("rlpd_state", 20, 2),
    ("pick_cube", "sparse"): Scenario("rlpd_state_sparse", 20, 2),
    ("pick_cube_vision", "dense"): Scenario("drq_rlpd", 20, 3, 2),
    ("pick_cube_vision", "sparse"): Scenario("drq_rlpd_sparse", 20, 3, 2),
    ("pick_cube_vision_random", "dense"): Scenario("drq_rlpd_random", 20, 4),
    ("reach", "dense"): Scenario("sac_state", 0, 2),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    p = argparse.ArgumentParser(
        prog="serl-rt demo",
        description="Learn a task in simulation through the real controller, wire and hot swap.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--task", default="pick_cube", choices=sorted({t for t, _ in SCENARIOS}))
    p.add_argument("--reward", default="dense", choices=("dense", "sparse"))
    p.add_argument("--seed", type=int, default=0, help="of everything random")
    p.add_argument("--run", type=Path, default=Path("runs/demo"), help="folder of the results")
    p.add_argument("--episodes", type=int, default=50, help="deterministic ones, for the verdict")
    p.add_argument("--noise", type=float, default=0.2, help="of demonstrated actions, std")
    p.add_argument("--time-limit", type=float, default=600.0, help="of learning [s]")
    return p


def main(argv: Sequence[str]) -> int:
    """Run the demo; returns 0 when the final policy is good enough, 1 when not, 2 on an error."""
    arguments = parser().parse_args(argv)
    if arguments.episodes < 1:
        print(f"serl-rt demo: --episodes {arguments.episodes}: must be at least 1", file=sys.stderr)
        return 2
    scenario = SCENARIOS.get((arguments.task, arguments.reward))
    if scenario is None:
        pairs = ", ".join(f"{task} {reward}" for task, reward in SCENARIOS)
        print(f"serl-rt demo: no recipe for this pair; there are: {pairs}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        return Demo(arguments, scenario).run()
    except (ProcessFailed, ConfigError, RuntimeError, OSError) as error:
        print(f"\nserl-rt demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nserl-rt demo: interrupted; logs and the learner's run are in {arguments.run}")
        return 130


class Demo:
    """One run, step by step."""

    def __init__(self, arguments: argparse.Namespace, scenario: Scenario) -> None:
        self.task: str = arguments.task
        self.reward: str = arguments.reward
        self.seed: int = arguments.seed
        self.episodes: int = arguments.episodes
        self.noise: float = arguments.noise
        self.time_limit_s: float = arguments.time_limit
        self.folder: Path = arguments.run
        self.scenario = scenario
        self.learner_folder = self.folder / "learner"
        self.policy = self.learner_folder / "policy.onnx"
        self.started = time.monotonic()

    def run(self) -> int:
        """Do everything; returns the exit status."""
        self.clear_folder()
        demonstrations = self.record()
        metrics = MetricsFollower(self.learner_folder / "metrics.jsonl")
        training = self.learn(demonstrations, metrics)
        judged = self.evaluate()
        realtime = self.run_in_real_time()
        summary = self.summarise(training, judged, realtime)
        (self.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        self.draw(metrics)
        print(table(summary))
        print(f"\nresults: {self.folder}/summary.json, learning.png, policy.gif")
        if summary["success_rate"] >= WANTED_SUCCESS:
            return 0
        print(f"the success rate is below {WANTED_SUCCESS}: logs are in {self.folder}")
        return 1

    def clear_folder(self) -> None:
        """Start from nothing; raises ConfigError rather than delete what is not a demo's."""
        marker = self.folder / MARKER
        if self.folder.exists() and not marker.exists() and any(self.folder.iterdir()):
            raise ConfigError(
                f"--run {self.folder}: the folder holds something that no demo wrote; "
                "choose another one"
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        marker.touch()

    def say(self, text: str) -> None:
        """Print what begins now."""
        print(f"[demo {time.monotonic() - self.started:5.1f} s] {text}", flush=True)

    def record(self) -> Path | None:
        """Let the scripted expert show the task; returns the file."""
        if self.scenario.demonstrations == 0:
            return None
        self.say(f"recording {self.scenario.demonstrations} scripted demonstrations")
        env = SimArmEnv(self.task, self.reward)
        columns = record_demonstrations(
            env, self.scenario.demonstrations, self.noise, seed=self.seed
        )
        path = self.folder / "demonstrations.npz"
        save_demonstrations(path, columns, env.contract)
        return path

    def learn(self, demonstrations: Path | None, metrics: MetricsFollower) -> dict[str, Any]:
        """Run learner and controller until the learner is satisfied; returns the summaries."""
        address = f"tcp://127.0.0.1:{free_port()}"
        self.say(f"learning {self.task}, {self.reward} reward, recipe {self.scenario.recipe}")
        with (
            Process("learner", self.learner_command(address, demonstrations),
                    self.folder / "learner.log") as learner,
            Process("controller", self.controller_command(address),
                    self.folder / "controller.log") as controller,
        ):  # fmt: skip
            began = time.monotonic()
            while learner.running():
                if not controller.running():
                    raise ProcessFailed(f"the controller ended early:\n{controller.tail()}")
                if time.monotonic() - began > self.time_limit_s:
                    learner.interrupt()
                    learner.wait(10.0, accept=(130,))
                    break
                metrics.poll()
                metrics.show()
                time.sleep(0.2)
            metrics.poll()
            metrics.end_line()
            controller.interrupt()
            controller.wait(10.0, accept=(0, 3))  # 3: the summary tells what was not acknowledged
        return {
            "learner": json.loads((self.learner_folder / "summary.json").read_text()),
            "controller": json.loads((self.folder / "controller.json").read_text()),
        }

    def learner_command(self, address: str, demonstrations: Path | None) -> list[str]:
        """Return what starts the learner."""
        options = [] if demonstrations is None else ["--demos", str(demonstrations)]
        if self.scenario.max_env_steps is not None:
            options += ["--max-env-steps", str(self.scenario.max_env_steps)]
        return serl_rt(
            "learn", "--recipe", self.scenario.recipe, "--task", self.task, "--bind", address,
            "--run", str(self.learner_folder), "--seed", str(self.seed), *options,
        )  # fmt: skip

    def controller_command(self, address: str) -> list[str]:
        """Return what starts the learning controller."""
        return serl_rt(
            "control", "--task", self.task, "--lockstep", "--learner", address,
            "--reward", self.reward, "--seed", str(self.seed),
            "--evaluate-every", str(self.scenario.evaluate_every),
            "--evaluations", str(self.scenario.evaluations),
            "--policies", str(self.folder / "policies"), "--state", "none", "--commands", "none",
            "--summary", str(self.folder / "controller.json"),
        )  # fmt: skip

    def evaluate(self) -> dict[str, Any]:
        """Judge the final policy in deterministic episodes, simulated time."""
        self.say(f"judging the final policy in {self.episodes} deterministic episodes")
        return self.act("evaluation", ["--lockstep", "--episodes", str(self.episodes)])

    def run_in_real_time(self) -> dict[str, Any]:
        """Let the final policy act on the wall clock, as on a robot."""
        self.say("two episodes in real time, 1 kHz on the wall clock")
        return self.act("realtime", ["--episodes", "2"])

    def act(self, name: str, options: list[str]) -> dict[str, Any]:
        """Run a controller with the final policy and no learner; returns its summary."""
        summary = self.folder / f"{name}.json"
        command = serl_rt(
            "control", "--task", self.task, "--policy", str(self.policy),
            "--reward", self.reward, "--seed", str(self.seed + EVALUATION_SEED),
            "--evaluate-every", "1", "--policies", str(self.folder / "policies"),
            "--state", "none", "--commands", "none", "--summary", str(summary), *options,
        )  # fmt: skip
        with Process(name, command, self.folder / f"{name}.log") as process:
            process.wait(60.0 + 10.0 * self.episodes)
        result: dict[str, Any] = json.loads(summary.read_text())
        return result

    def draw(self, metrics: MetricsFollower) -> None:
        """Leave the plot and the clip."""
        self.say("drawing")
        title = f"{self.task}, {self.reward} reward, seed {self.seed}"
        plot_learning(metrics.episodes, title, self.folder / "learning.png")
        env = SimArmEnv(self.task, self.reward, render_mode="rgb_array", width=320, height=240)
        policy = OnnxPolicy(self.policy.read_bytes(), env.contract)
        frames, seen = [], []
        cameras = [image.name for image in env.contract.images]
        for episode in range(CLIP_EPISODES):
            observation, _ = env.reset(seed=self.seed + EVALUATION_SEED + episode)
            for _ in range(30):
                frames.append(env.render())
                if cameras:
                    seen.append(side_by_side([observation[name] for name in cameras]))
                action = deterministic_action(policy, observation)
                observation, _, terminated, truncated, info = env.step(action)
                if terminated or truncated or info["succeed"]:
                    break
            frames += [env.render()] * 5  # dwell on the result
        env.close()
        write_clip([f for f in frames if f is not None], self.folder / "policy.gif", 10.0)
        if seen:
            write_clip(seen, self.folder / "cameras.gif", 10.0)

    def summarise(
        self,
        training: dict[str, Any],
        judged: dict[str, Any],
        realtime: dict[str, Any],
    ) -> dict[str, Any]:
        """Return the result as it is written to summary.json."""
        learner, controller = training["learner"], training["controller"]
        return {
            "task": self.task,
            "reward": self.reward,
            "seed": self.seed,
            "success_rate": judged["evaluation_success_rate"],
            "eval_episodes": judged["evaluation_episodes"],
            "env_steps": controller["env_steps"],
            "updates": learner["updates"],
            "learning_s": round(learner["wall_s"], 1),
            "wall_s": round(time.monotonic() - self.started, 1),
            "stopped_because": learner["reason"],
            "policies_published": learner["version"],
            "policies_swapped": controller["policies"]["swapped"],
            "policies_refused": controller["policies"]["refused"],
            "transitions_sent": controller["link"]["pushed"],
            "transitions_stored": learner["transitions_stored"],
            "ticks_per_s": round(judged["ticks_per_s"]),
            "late_ticks": realtime["late_ticks"],
            "realtime_ticks": realtime["ticks"],
            "realtime_success_rate": realtime["evaluation_success_rate"],
        }


def side_by_side(images: Sequence[NDArray[np.uint8]], scale: int = 4) -> NDArray[np.uint8]:
    """Join what several cameras show, (height, width, 3) each, enlarged for a person."""
    height = max(len(image) for image in images)
    padded = [np.pad(image, ((0, height - len(image)), (0, 0), (0, 0))) for image in images]
    joined = np.concatenate(padded, axis=1)
    return joined.repeat(scale, axis=0).repeat(scale, axis=1)


def deterministic_action(policy: OnnxPolicy, observation: Observation) -> Action:
    """Return the policy's action, (action_dim,), without exploration noise."""
    batch = {name: value[None] for name, value in observation.items()}
    noise = np.zeros((1, policy.contract.action_dim), np.float32)
    action: Action = policy.act(batch, noise)[0]
    return action


def table(summary: dict[str, Any]) -> str:
    """Return the summary as two aligned columns."""
    width = max(len(key) for key in summary)
    return "\n" + "\n".join(f"  {key:<{width}}  {value}" for key, value in summary.items())
