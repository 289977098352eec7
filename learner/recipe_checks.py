"""Settings of a recipe that contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serl_rt.export.toml_config import ConfigError, Source
from serl_rt.learner.vision.build import FROZEN_ENCODERS
from serl_rt.learner.vision.encoders import FAST_ENCODERS

if TYPE_CHECKING:
    from serl_rt.learner.recipe import Recipe

_EVERY = ("sac", "drq", "hybrid", "bc", "vice")
_CRITICS = ("sac", "drq", "hybrid", "vice")
_READ_BY = {
    "agent": _CRITICS,
    "agent.kind": _EVERY,
    "critic": _CRITICS,
    "critic_optimizer": _CRITICS,
    "encoder.share_encodings": _CRITICS,
    "grasp_critic": ("hybrid",),
    "grasp_critic_optimizer": ("hybrid",),
    "replay.fold_truncation_into_terminal": _CRITICS,
    "replay.interventions_join_demonstrations": _CRITICS,
    "replay.joining_capacity": _CRITICS,
    "replay.successes_join_demonstrations": _CRITICS,
    "temperature_optimizer": _CRITICS,
    "vice": ("vice",),
    "vice_optimizer": ("vice",),
}
"""Which kinds of agents read a table, or one key of it; what is not here they all do."""


def check_reader(document: Mapping[str, Any], kind: str, source: Source) -> None:
    """Refuse what a recipe's file sets and an agent of its kind never reads."""
    for name, table in document.items():
        for key, value in table.items() if isinstance(table, Mapping) else ():
            kinds = _READ_BY.get(f"{name}.{key}") or _READ_BY.get(name, _EVERY)
            if kind not in kinds:
                raise (source / name).error(key, value, f'absent for kind = "{kind}"')


def check_recipe(recipe: Recipe, source: Source) -> None:
    """Refuse settings that contradict each other."""
    agent, training = recipe.agent, recipe.training
    subsample = agent.critic_subsample_size
    if subsample is not None and subsample > agent.critic_ensemble_size:
        allowed = f"at most critic_ensemble_size = {agent.critic_ensemble_size}"
        raise (source / "agent").error("critic_subsample_size", subsample, allowed)
    if (recipe.policy.fixed_std is not None) != (recipe.policy.std_parameterization == "fixed"):
        allowed = 'given for std_parameterization = "fixed" and no other'
        raise (source / "policy").error("fixed_std", recipe.policy.fixed_std, allowed)
    if not agent.value_low < agent.value_high:
        allowed = f"below value_high = {agent.value_high}"
        raise (source / "agent").error("value_low", agent.value_low, allowed)
    if agent.num_atoms is not None and recipe.encoder is not None:
        raise (source / "agent").error("num_atoms", agent.num_atoms, "absent with an [encoder]")
    if agent.kind in ("hybrid", "bc", "vice"):
        _check_plain_update(recipe, source)
    _check_numerics(recipe, source / "training")
    _check_encoder(recipe, source / "encoder")
    if training.start_training > recipe.replay.capacity:
        allowed = f"at most the replay capacity {recipe.replay.capacity}"
        raise (source / "training").error("start_training", training.start_training, allowed)


def _check_plain_update(recipe: Recipe, source: Source) -> None:
    """Refuse what only plain SAC and DrQ do: C51, other precisions, accumulation, compiling."""
    kind = recipe.agent.kind
    if recipe.agent.num_atoms is not None:
        raise (source / "agent").error("num_atoms", recipe.agent.num_atoms, f"absent for {kind}")
    training = recipe.training
    allowed = {"precision": ("float32",), "gradient_accumulation": (1,), "compile": ("off", "auto")}
    for key, choices in allowed.items():
        value = getattr(training, key)
        if value not in choices:
            wanted = " or ".join(str(choice) for choice in choices)
            raise (source / "training").error(key, value, f'{wanted} with kind = "{kind}"')


def _check_numerics(recipe: Recipe, source: Source) -> None:
    training, parts = recipe.training, recipe.training.gradient_accumulation
    if training.batch_size % parts:
        allowed = f"a divisor of batch_size = {training.batch_size}"
        raise source.error("gradient_accumulation", parts, allowed)
    if parts > 1 and recipe.agent.imitates:
        # The imitation term is a mean over the batch's demonstrations, however many those are.
        raise source.error("gradient_accumulation", parts, "1 with bc_weight or encoder_bc_weight")
    if parts > 1 and recipe.encoder is not None and recipe.encoder.share_encodings:
        raise source.error("gradient_accumulation", parts, "1 with share_encodings")
    if training.precision == "float16" and training.compile == "on":
        raise source.error("precision", "float16", 'float32 or bfloat16 with compile = "on"')


def _check_encoder(recipe: Recipe, source: Source) -> None:
    encoder = recipe.encoder
    if encoder is None:
        if (kind := recipe.agent.kind) in ("drq", "vice"):
            raise source.missing("type", f'given for kind = "{kind}"')
        if weight := recipe.agent.encoder_bc_weight:
            agent = Source(source.file, "agent")
            raise agent.error("encoder_bc_weight", weight, "0 without an [encoder]")
        return
    if recipe.training.compile == "on":
        raise ConfigError(f"{source.file}: [training] compile: updates on images stay eager")
    if recipe.agent.num_atoms is not None:
        allowed = "absent with an [encoder]: critics on images are not distributional"
        raise Source(source.file, "agent").error("num_atoms", recipe.agent.num_atoms, allowed)
    frozen = encoder.type in FROZEN_ENCODERS
    if encoder.cached_crops and not frozen:
        allowed = f"0 for {encoder.type}, which learns: only a frozen trunk's features stay true"
        raise source.error("cached_crops", encoder.cached_crops, allowed)
    if encoder.cached_crops and recipe.agent.kind == "vice":
        allowed = '0 with kind = "vice", whose goals are pictures'
        raise source.error("cached_crops", encoder.cached_crops, allowed)
    if encoder.join_cameras and frozen:
        raise source.error("join_cameras", True, f"false for {encoder.type}")
    if encoder.channels is not None and encoder.type not in FAST_ENCODERS:
        raise source.error("channels", encoder.channels, f"absent for {encoder.type}")
    if encoder.standardize_images and encoder.type not in FAST_ENCODERS:
        raise source.error("standardize_images", True, f"false for {encoder.type}")
    if encoder.dropout is not None and not frozen:
        raise source.error("dropout", encoder.dropout, f"absent for {encoder.type}")
    if encoder.last_block is not None and encoder.type != "mobilenet-pretrained":
        raise source.error("last_block", encoder.last_block, f"absent for {encoder.type}")
    if (encoder.weights is not None) != (encoder.type == "resnet-pretrained"):
        allowed = 'a file for type = "resnet-pretrained" and absent for others'
        raise source.error("weights", encoder.weights, allowed)
