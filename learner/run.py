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

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import (
    DemonstrationsError,
    demonstration_columns,
)
from serl_rt.export.keys import KeysError
from serl_rt.export.publish import read_policy_file
from serl_rt.export.task import TaskFile, load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import PolicyRefused
from serl_rt.learner.assemble import make_step
from serl_rt.learner.checkpoint import CheckpointError, CheckpointFolder, load_checkpoint
from serl_rt.learner.compile import ParityError
from serl_rt.learner.data.transition_log import TransitionLog, TransitionLogError
from serl_rt.learner.display import LineDisplay, make_display
from serl_rt.learner.distributed import RankLost, Ranks, join, launched
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
from serl_rt.learner.update_step import NonFiniteLossError

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
        exporter=make_exporter(step.agent, contract, recipe.name),
        recipe=with_limit(recipe.training, arguments.max_env_steps),
        window=SuccessWindow(recipe.success.episodes, recipe.success.rate),
        checkpoints=CheckpointFolder(folder.checkpoints, recipe.training.keep_checkpoints),
        metrics=metrics,
        display=LineDisplay(),
        folder=folder.root,
        identity=identity(recipe, contract.contract_id, arguments.seed) | {"ranks": ranks.size},
        peers=Leader(ranks) if ranks.size > 1 else NoPeers(),
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
