"""From a recipe and a command line to what learns: the same on every rank, its share each."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import load_demonstrations
from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.agents.agent import Agent
from serl_rt.learner.agents.bc import BCAgent
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.agents.vice import ViceAgent
from serl_rt.learner.compile import compile_updates
from serl_rt.learner.data.batch import Batch, batch_to_device
from serl_rt.learner.data.image_build import ReplayFactory
from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.intake import Intake, Share
from serl_rt.learner.data.joining import Joining
from serl_rt.learner.data.mixing import DemonstrationMixer
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import Columns, TransitionDecoder, observation_spec
from serl_rt.learner.distributed import RankDraws, Ranks, local_device
from serl_rt.learner.goals import goal_pictures
from serl_rt.learner.recipe import Recipe
from serl_rt.learner.run_folder import RunFolder
from serl_rt.learner.update_step import UpdateStep

SEED_STRIDE = 1_000_003
"""Between the seeds of the ranks' batches."""


def make_step(
    arguments: argparse.Namespace,
    recipe: Recipe,
    contract: Contract,
    folder: RunFolder,
    ranks: Ranks,
) -> tuple[UpdateStep, Intake]:
    """Build agent and replay, load the demonstrations: what every rank has, its share each."""
    training, size = recipe.training, ranks.size
    check_ranks(recipe, size)
    device = local_device(arguments.device)
    check_device(device)
    check_precision(training.precision, device)
    demos = arguments.demos
    recorded = None if demos is None else load_demonstrations(demos, contract)
    folder.check_demonstrations(demos, recorded)
    decoder = TransitionDecoder(
        contract, fold_truncation=recipe.replay.fold_truncation_into_terminal
    )
    agent = build_agent(recipe, contract, seed=arguments.seed, device=device)
    make_replay = ReplayFactory(recipe, contract, agent, folder.frames, arguments.seed)
    replay = make_replay(-(-recipe.replay.capacity // size), f"online-{ranks.rank}")
    share = make_share(ranks, contract)
    demonstrations, joining = _demonstrations(
        recorded, str(demos), recipe, agent, decoder, share, make_replay
    )
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
    corrections_only = isinstance(agent, BCAgent)
    intake = Intake(decoder, replay, share, corrections_only=corrections_only, joining=joining)
    return step, intake


def _demonstrations(
    recorded: Columns | None,
    file: str,
    recipe: Recipe,
    agent: Agent,
    decoder: TransitionDecoder,
    share: Share,
    make_replay: ReplayFactory,
) -> tuple[ReplayBuffer | ImageReplay, Joining | None]:
    """Return this rank's demonstrations, of which a VICE agent gets its goals, and what joins them.

    Raises ConfigError where they are missing or too few.
    """
    name = f"demonstrations-{share.rank}"
    if recorded is None:
        if isinstance(agent, ViceAgent):
            message = "has goals in demonstrations"
        elif recipe.agent.imitates or isinstance(agent, BCAgent):
            message = "imitates demonstrations"
        else:
            return make_replay(1, name), None
        raise ConfigError(f"recipe '{recipe.name}' {message}: give --demos FILE")
    # Dealt out apart from what controllers send, whose shares follow from their own count.
    mine = Share(share.rank, share.size, by_episode=share.by_episode).of(name, recorded["episode"])
    transitions = decoder(recorded, "demonstrations").select(mine)
    if transitions.size == 0:
        raise ConfigError(f"--demos {file}: has less than one episode for each rank")
    if isinstance(agent, ViceAgent):
        successes = recorded["success"][mine]
        agent.goals = goal_pictures(transitions, successes, file, agent.state.device)
    memory = recipe.replay
    joins = not isinstance(agent, BCAgent) and (
        memory.interventions_join_demonstrations or memory.successes_join_demonstrations
    )
    room = -(-memory.joining_capacity // share.size) if joins else 0
    demonstrations = make_replay(transitions.size + room, name)
    demonstrations.insert(transitions)
    if not joins:
        return demonstrations, None
    return demonstrations, Joining(
        demonstrations,
        interventions=memory.interventions_join_demonstrations,
        successes=memory.successes_join_demonstrations,
    )


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


def check_ranks(recipe: Recipe, size: int) -> None:
    """Raise ConfigError where a recipe cannot be divided among so many ranks."""
    if size == 1:
        return
    training = recipe.training
    if recipe.agent.kind == "vice":
        # Each rank would train the classifier on goals of its own share of the demonstrations.
        raise ConfigError('[agent] kind = "vice": not with several ranks')
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


def check_device(name: str) -> None:
    """Raise ConfigError unless torch can compute there."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        known = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ConfigError(f"--device {name}: {error}; this machine has: {known}") from None


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
