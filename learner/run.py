"""`serl-rt learn`: start or continue a run of learning."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import (
    DemonstrationsError,
    demonstration_columns,
    load_demonstrations,
)
from serl_rt.export.keys import KeysError
from serl_rt.export.publish import read_policy_file
from serl_rt.export.task import TaskFile, load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import PolicyRefused
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.checkpoint import CheckpointError, CheckpointFolder, load_checkpoint
from serl_rt.learner.compile import ParityError, compile_updates
from serl_rt.learner.data.batch import Batch, batch_to_device
from serl_rt.learner.data.image_build import ReplayFactory
from serl_rt.learner.data.intake import Intake, Share
from serl_rt.learner.data.mixing import DemonstrationMixer
from serl_rt.learner.data.transition_log import TransitionLog, TransitionLogError
from serl_rt.learner.data.transitions import TransitionDecoder, observation_spec
from serl_rt.learner.display import LineDisplay, make_display
from serl_rt.learner.distributed import RankDraws, RankLost, Ranks, join, launched, local_device
from serl_rt.learner.draws import Generators
from serl_rt.learner.metrics import (
    JsonLinesSink,
    MetricSink,
    MetricSinks,
    TensorBoardSink,
    WandbSink,
)
from serl_rt.learner.numerics import set_matmul_precision
from serl_rt.learner.pacing import SuccessWindow
from serl_rt.learner.peers import Leader, NoPeers, follow
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.process import keep_freed_memory, set_threads, stop_on_signal
from serl_rt.learner.receive import LearnerServer, LearnerServerError
from serl_rt.learner.recipe import Recipe, TrainingRecipe, load_recipe
from serl_rt.learner.run_folder import RunFolder, identity
from serl_rt.learner.sessions import ServerStats
from serl_rt.learner.train import Trainer
from serl_rt.learner.update_step import NonFiniteLossError, UpdateStep

USER_ERRORS = (
    CheckpointError,
    ConfigError,
    DemonstrationsError,
    KeysError,
    LearnerServerError,
    NonFiniteLossError,
    OSError,
    ParityError,
    PolicyRefused,
    RankLost,
    TransitionLogError,
)
FAILURES = (NonFiniteLossError, LearnerServerError, OSError, RankLost)
"""Of these, those that are not the user's mistake."""
ALONE = Ranks(0, 1)
SEED_STRIDE = 1_000_003
"""Between the seeds of the ranks' batches."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    p = argparse.ArgumentParser(
        prog="serl-rt learn",
        description="Learn a task from the transitions of a controller, and send it policies.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--recipe", default="rlpd_state", help="bundled recipe's name, or a .toml file")
    p.add_argument("--task", default="pick_cube", help="bundled task's name, or a .toml file")
    p.add_argument("--demos", type=Path, help="demonstrations (.npz); none: online data only")
    p.add_argument("--bind", default="tcp://127.0.0.1:5588", help="address to listen on")
    p.add_argument("--keys", type=Path, help="folder of CURVE keys; needed beyond loopback")
    p.add_argument("--run", type=Path, help="run folder; default runs/RECIPE-TASK")
    p.add_argument("--resume", action="store_true", help="continue the run in the folder")
    p.add_argument("--seed", type=int, default=0, help="of parameters, batches and noise")
    p.add_argument("--max-env-steps", type=int, help="transitions; default: the recipe's")
    p.add_argument("--device", default="cpu", help="torch device of the updates")
    p.add_argument("--wandb", metavar="PROJECT", help="also log to Weights & Biases")
    p.add_argument("--no-tensorboard", action="store_true", help="write only metrics.jsonl")
    p.add_argument("-v", "--verbose", action="store_true", help="log more")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status (0 done, 1 failed, 2 wrong input, 130 Ctrl-C)."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        with stop_on_signal() as stop:
            reason = learn(arguments, stop)
    except USER_ERRORS as error:
        print(f"serl-rt learn: {error}", file=sys.stderr)
        return 1 if isinstance(error, FAILURES) else 2
    except ValueError as error:
        print(f"serl-rt learn: {error}", file=sys.stderr)
        return 2
    return 130 if reason == "interrupted" else 0


def learn(arguments: argparse.Namespace, stop: threading.Event) -> str:
    """Train as the arguments say until done or `stop` is set; return the reason for the end.

    Started by `torchrun`, rank 0 leads and the other ranks compute with it.
    """
    keep_freed_memory()
    recipe = load_recipe(arguments.recipe)
    set_threads(recipe.training.threads)
    set_matmul_precision(recipe.training.matmul_precision)
    if not launched():
        return lead(arguments, recipe, ALONE, stop)
    with join() as ranks:
        if ranks.rank > 0:  # it ends when rank 0 says so, not by a signal
            work(arguments, recipe, ranks)
            return "done"
        return lead(arguments, recipe, ranks, stop)


def lead(arguments: argparse.Namespace, recipe: Recipe, ranks: Ranks, stop: threading.Event) -> str:
    """Receive, learn, publish, keep the run folder; return the reason for the end."""
    task = load_task(arguments.task)
    contract = task.contract
    folder = run_folder(arguments, recipe, task)
    folder.create(recipe, task, arguments.seed, resume=arguments.resume)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(TransitionLog(folder.transitions, contract.contract_id))
        columns = demonstration_columns(contract)  # demonstrations are transitions, too
        # Controllers are heard only when the log has been read: nothing counts twice.
        link = stack.enter_context(
            LearnerServer(log, columns, arguments.bind, keys=arguments.keys, start=False)
        )
        metrics = MetricSinks(make_sinks(arguments, recipe, folder))
        stack.callback(metrics.close)
        trainer = make_trainer(arguments, recipe, contract, folder, link, metrics, ranks)
        if arguments.resume:
            restore(trainer, log, folder)
        link.start()
        print(f"listening on {link.address}, run folder {folder.root}", flush=True)
        with make_display(trainer.recipe.max_env_steps) as display:
            trainer.display = display
            reason = trainer.run(stop)
    # The link is closed: what is in the log now is what the controllers know to be stored.
    finish(trainer, folder, link.stats, log.count, reason, arguments.seed)
    return reason


def work(arguments: argparse.Namespace, recipe: Recipe, ranks: Ranks) -> None:
    """Compute what rank 0 orders, until it says stop."""
    task = load_task(arguments.task)
    torch.manual_seed(torch.initial_seed() + ranks.rank)  # another dropout than on rank 0
    step, intake = make_step(
        arguments, recipe, task.contract, run_folder(arguments, recipe, task), ranks
    )
    follow(ranks, step.agent.state, intake, step, Generators(step.sampling))


def run_folder(arguments: argparse.Namespace, recipe: Recipe, task: TaskFile) -> RunFolder:
    """Return the folder of the run."""
    return RunFolder(arguments.run or Path("runs") / f"{recipe.name}-{task.name}")


def check_device(name: str) -> None:
    """Raise ConfigError unless torch can compute there."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        known = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ConfigError(f"--device {name}: {error}; this machine has: {known}") from None


def with_limit(training: TrainingRecipe, max_env_steps: int | None) -> TrainingRecipe:
    """Return the recipe with the command line's limit, if there is one."""
    if max_env_steps is None:
        return training
    if max_env_steps < 1:
        raise ConfigError(f"--max-env-steps = {max_env_steps}: must be at least 1")
    return dataclasses.replace(training, max_env_steps=max_env_steps)


def make_sinks(
    arguments: argparse.Namespace, recipe: Recipe, folder: RunFolder
) -> list[MetricSink]:
    """Open the metric sinks that were asked for."""
    sinks: list[MetricSink] = [JsonLinesSink(folder.metrics)]
    if not arguments.no_tensorboard:
        sinks.append(TensorBoardSink(folder.tensorboard))
    if arguments.wandb:
        config = dataclasses.asdict(recipe)
        sinks.append(WandbSink(arguments.wandb, folder.root.name, config, folder.root))
    return sinks


def make_step(
    arguments: argparse.Namespace,
    recipe: Recipe,
    contract: Contract,
    folder: RunFolder,
    ranks: Ranks,
) -> tuple[UpdateStep, Intake]:
    """Build agent and replay, load the demonstrations: what every rank has, its share each."""
    training, size = recipe.training, ranks.size
    check_ranks(training, size)
    device = local_device(arguments.device)
    check_device(device)
    check_precision(training.precision, device)
    decoder = TransitionDecoder(
        contract, fold_truncation=recipe.replay.fold_truncation_into_terminal
    )
    agent = build_agent(recipe, contract, seed=arguments.seed, device=device)
    make_replay = ReplayFactory(recipe, contract, agent, folder.frames, arguments.seed)
    replay = make_replay(-(-recipe.replay.capacity // size), f"online-{ranks.rank}")
    demonstrations = make_replay(1, f"demonstrations-{ranks.rank}")
    if arguments.demos is not None:
        recorded = load_demonstrations(arguments.demos, contract)
        transitions = make_share(ranks, contract).of(
            decoder(recorded, "demonstrations"), "demonstrations", recorded["episode"]
        )
        demonstrations = make_replay(transitions.size, f"demonstrations-{ranks.rank}")
        demonstrations.insert(transitions)
    elif recipe.agent.bc_weight > 0:
        raise ConfigError(f"recipe '{recipe.name}' imitates demonstrations: give --demos FILE")
    if training.compile != "off" and size == 1 and isinstance(agent, SACAgent):
        example = batch_to_device(
            example_batch(contract, training.critic_actor_ratio * training.batch_size), device
        )
        required = training.compile == "on"
        compile_updates(agent, example, training.critic_actor_ratio, required=required)
    name = f"nonfinite_batch_rank{ranks.rank}.npz" if ranks.rank else "nonfinite_batch.npz"
    step = UpdateStep(
        agent,
        DemonstrationMixer(replay, demonstrations, recipe.replay.demonstration_fraction),
        torch.Generator().manual_seed(arguments.seed + 1 + SEED_STRIDE * ranks.rank),
        batch_size=training.batch_size // size,
        ratio=training.critic_actor_ratio,
        suspect=folder.root / name,
    )
    if size > 1:
        agent.draws = RankDraws(agent.state.generator, ranks)
        agent.state.average = ranks.average
        step.average = ranks.average_info
    return step, Intake(decoder, replay, make_share(ranks, contract))


def make_share(ranks: Ranks, contract: Contract) -> Share:
    """Return what this rank keeps of a stream of transitions."""
    return Share(ranks.rank, ranks.size, by_episode=bool(contract.images))


def check_precision(precision: str, device: str) -> None:
    """Raise ConfigError for a precision that gains nothing on the device."""
    if precision == "float16" and not device.startswith("cuda"):
        raise ConfigError(
            f'[training] precision = "float16": not on --device {device}, only on a GPU; '
            'use "bfloat16" or "float32"'
        )


def check_ranks(training: TrainingRecipe, size: int) -> None:
    """Raise ConfigError where a recipe cannot be divided among so many ranks."""
    if size == 1:
        return
    if training.batch_size % size:
        raise ConfigError(
            f"[training] batch_size = {training.batch_size}: must be a multiple of the {size} ranks"
        )
    if training.start_training < size:
        raise ConfigError(
            f"[training] start_training = {training.start_training}: must be at least the {size} "
            "ranks, so that each has something to learn from"
        )
    if training.precision == "float16":
        # Each rank would follow its own overflows.
        raise ConfigError('[training] precision = "float16": not with several ranks')
    if training.compile == "on":
        raise ConfigError('[training] compile = "on": not with several ranks; use "auto" or "off"')


def make_trainer(
    arguments: argparse.Namespace,
    recipe: Recipe,
    contract: Contract,
    folder: RunFolder,
    link: LearnerServer,
    metrics: MetricSink,
    ranks: Ranks,
) -> Trainer:
    """Build what learns and connect it to the link."""
    step, intake = make_step(arguments, recipe, contract, folder, ranks)
    return Trainer(
        step=step,
        intake=intake,
        link=link,
        exporter=make_exporter(step.agent.actor, contract, recipe.name),
        recipe=with_limit(recipe.training, arguments.max_env_steps),
        window=SuccessWindow(recipe.success.episodes, recipe.success.rate),
        checkpoints=CheckpointFolder(folder.checkpoints, recipe.training.keep_checkpoints),
        metrics=metrics,
        display=LineDisplay(),
        folder=folder.root,
        identity=identity(recipe, contract.contract_id, arguments.seed) | {"ranks": ranks.size},
        peers=Leader(ranks) if ranks.size > 1 else NoPeers(),
    )


def example_batch(contract: Contract, size: int) -> Batch:
    """Return random transitions in the shapes that batches of training have."""
    generator = torch.Generator().manual_seed(0)

    def observations() -> dict[str, Tensor]:
        return {
            name: torch.randint(256, (size, *shape), dtype=dtype, generator=generator)
            if dtype == torch.uint8
            else torch.randn((size, *shape), generator=generator)
            for name, (shape, dtype) in observation_spec(contract).items()
        }

    return Batch(
        observations=observations(),
        actions=torch.rand((size, contract.action_dim), generator=generator) * 2 - 1,
        next_observations=observations(),
        rewards=torch.randn(size, generator=generator),
        masks=torch.ones(size),
        grasp_penalty=torch.zeros(size),
        demonstrations=torch.ones(size),
    )


def restore(trainer: Trainer, log: TransitionLog, folder: RunFolder) -> None:
    """Bring back the newest checkpoint and every transition that was acknowledged."""
    trainer.receive(log, report=False)
    path = trainer.checkpoints.latest()
    if path is not None:
        checkpoint = load_checkpoint(path, trainer.identity)
        trainer.restore(checkpoint.header, checkpoint.arrays)
    if folder.policy.is_file():  # newer than the checkpoint after a crash: no number comes twice
        newest = read_policy_file(folder.policy).version
        trainer.progress.version = max(trainer.progress.version, newest)
    print(
        f"resumed at {trainer.progress.env_steps} steps, {trainer.progress.updates} updates",
        flush=True,
    )


def finish(
    trainer: Trainer, folder: RunFolder, stats: ServerStats, stored: int, reason: str, seed: int
) -> None:
    """Write the summary and say what came out; `stored` counts the log's transitions."""
    progress = trainer.progress
    summary = {
        "reason": reason,
        **dataclasses.asdict(progress),
        "success_rate": trainer.window.success_rate,
        "evaluation_window": trainer.window.count,
        "transitions_stored": stored,
        "link": dataclasses.asdict(stats),
        "seed": seed,
    }
    folder.write_summary(summary)
    print(
        f"{reason}: {progress.env_steps} steps, {progress.updates} updates, "
        f"{progress.version} policies in {progress.wall_s:.1f} s; policy in {folder.policy}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
