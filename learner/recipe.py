"""Recipes: everything about learning that a TOML file sets, with defaults, units and ranges."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serl_rt.export.toml_config import ConfigError, Source, parse_table, read_toml, setting
from serl_rt.learner.networks.mlp import ACTIVATIONS
from serl_rt.learner.recipe_checks import check_reader, check_recipe
from serl_rt.learner.vision.build import FROZEN_ENCODERS, PRECISIONS
from serl_rt.learner.vision.encoders import SCRATCH_ENCODERS

FOLDER = Path(__file__).parent / "recipes"

_ACTIVATIONS = tuple(ACTIVATIONS)


@dataclass(frozen=True)
class AgentRecipe:
    """The algorithm."""

    kind: str = setting(
        "sac",
        choices=("sac", "drq", "hybrid", "bc", "vice"),
        doc="drq moves images at random; hybrid does, too, and has a critic of gripper commands; "
        "vice is drq whose reward is a classifier of the demonstrations' successes; "
        "bc imitates demonstrations and, of what happens, the steps in which a person took over",
    )
    discount: float = setting(0.97, low=0.0, high=0.9999)
    soft_target_update_rate: float = setting(0.005, low=1e-6, high=1.0)
    critic_ensemble_size: int = setting(2, low=1, high=100)
    critic_subsample_size: int | None = setting(None, low=1, high=100, doc="absent: all members")
    temperature_init: float = setting(0.1, low=1e-6, high=100.0)
    target_entropy: float | None = setting(None, doc="absent: -action_dim / 2")
    backup_entropy: bool = setting(False)
    discount_entropy_backup: bool = setting(True, doc="as in the papers; false is SERL's")
    bc_weight: float = setting(0.0, low=0.0, high=1e4, doc="imitation term in the actor's loss")
    encoder_bc_weight: float = setting(0.0, low=0.0, high=1e4, doc="the same, for the encoder")
    num_atoms: int | None = setting(None, low=2, high=1001, doc="C51; absent: plain critics")
    value_low: float = setting(-10.0, doc="C51: the least return that is told apart")
    value_high: float = setting(10.0, doc="C51: the largest")
    step_unused_optimizers: bool = setting(False, doc="true is SERL's behaviour")
    optimizers_cover_all: bool = setting(False, doc="true is SERL's behaviour")

    @property
    def imitates(self) -> bool:
        """Whether losses compare with demonstrated actions, so that there must be some."""
        return self.bc_weight > 0.0 or self.encoder_bc_weight > 0.0


@dataclass(frozen=True)
class NetworkRecipe:
    """One multi-layer perceptron."""

    hidden_dims: tuple[int, ...] = setting((256, 256), low=1, high=8192)
    activations: str = setting("tanh", choices=_ACTIVATIONS)
    use_layer_norm: bool = setting(True)
    dropout_rate: float | None = setting(None, low=0.0, high=0.99)


@dataclass(frozen=True)
class PolicyRecipe(NetworkRecipe):
    """The actor's perceptron and its action distribution."""

    std_parameterization: str = setting("exp", choices=("exp", "softplus", "uniform", "fixed"))
    std_min: float = setting(1e-5, low=1e-8, high=10.0)
    std_max: float = setting(5.0, low=1e-8, high=100.0)
    fixed_std: float | None = setting(None, low=1e-6, high=10.0, doc='for "fixed" only')


@dataclass(frozen=True)
class EncoderRecipe:
    """How images become vectors, for agents that see."""

    type: str = setting("convfast", choices=(*SCRATCH_ENCODERS, *FROZEN_ENCODERS))
    crop: int | None = setting(
        None, low=8, high=1024, unit="pixels", doc="window seen of an image: random in training"
    )
    shift_padding: int = setting(
        4, low=0, high=64, unit="pixels", doc="random shift where there is no crop; 0: none"
    )
    standardize_images: bool = setting(
        False, doc="convfast and patches see every channel at mean 0 and the same contrast"
    )
    channels: int | None = setting(
        None, low=1, high=1024, doc="of convfast's and patches' convolutions"
    )
    bottleneck_dim: int | None = setting(None, low=1, high=8192, doc="length of an image's vector")
    dropout: float | None = setting(None, low=0.0, high=0.99, doc="in the head on a frozen trunk")
    proprio_dim: int = setting(64, low=1, high=8192, doc="length of the state's vector")
    join_cameras: bool = setting(False, doc="one encoder for all cameras, not on frozen trunks")
    share_encodings: bool = setting(
        False, doc="encode once an update, no target encoder (DrQ-v2); false is SERL's"
    )
    weights: str | None = setting(None, doc="file of the pretrained ResNet-10's parameters")
    last_block: int | None = setting(
        None, low=1, high=16, doc="where EfficientNet-Lite0 ends; fewer keep more positions; 11"
    )
    trunk_precision: str = setting("float32", choices=tuple(PRECISIONS), doc="of frozen ones")
    cached_crops: int = setting(
        0, low=0, high=64, doc="keep a frozen trunk's features of so many crops, not the frames"
    )
    cache_precision: str = setting("float16", choices=("float16", "bfloat16", "float32"))


@dataclass(frozen=True)
class ViceRecipe:
    """The classifier of goals that rewards an agent of kind vice."""

    update_period: int = setting(1, low=1, unit="critic updates", doc="between two of its own")
    threshold: float = setting(0.5, low=0.01, high=0.99, doc="least probability that is rewarded")
    label_smoothing: float = setting(
        0.2, low=0.0, high=0.99, doc="labels are half of it and 1 - half"
    )
    gradient_penalty_weight: float = setting(10.0, low=0.0, high=1e6)
    bottleneck_dim: int = setting(512, low=1, high=8192, doc="length of an image's vector")
    hidden_dim: int = setting(256, low=1, high=8192)


@dataclass(frozen=True)
class OptimizerRecipe:
    """Adam of one network."""

    learning_rate: float = setting(3e-4, low=0.0, high=1.0)
    warmup_steps: int = setting(0, low=0)
    cosine_decay_steps: int | None = setting(None, low=1)
    weight_decay: float | None = setting(None, low=0.0, high=1.0)
    clip_grad_norm: float | None = setting(None, low=1e-9)


@dataclass(frozen=True)
class ReplayRecipe:
    """What is remembered and how batches are mixed."""

    capacity: int = setting(200_000, low=1, unit="transitions")
    demonstration_fraction: float = setting(0.5, low=0.0, high=1.0)
    interventions_join_demonstrations: bool = setting(
        True, doc="where there are some (--demos): steps in which a person acted, as in HIL-SERL"
    )
    successes_join_demonstrations: bool = setting(
        False, doc="the same for exploring episodes that succeeded: they are imitated, too"
    )
    joining_capacity: int = setting(
        10_000, low=1, unit="transitions", doc="for what joins; then the oldest demonstrations go"
    )
    fold_truncation_into_terminal: bool = setting(False, doc="true is SERL's on real robots")
    frames_in_files: bool = setting(
        False, doc="images in the run folder, mapped into memory: for more than fits in it"
    )


@dataclass(frozen=True)
class TrainingRecipe:
    """How much is learned from how much experience."""

    batch_size: int = setting(256, low=1, high=1_000_000, unit="transitions")
    start_training: int = setting(200, low=1, unit="transitions", doc="received before updates")
    utd_ratio: float = setting(1.0, low=0.001, high=1000.0, doc="critic updates per transition")
    critic_actor_ratio: int = setting(1, low=1, high=1000, doc="critic updates per actor update")
    credit_slack: int = setting(50, low=0, unit="transitions", doc="lead of a lockstep controller")
    max_env_steps: int = setting(20_000, low=1, unit="transitions")
    policy_average_rate: float | None = setting(
        None,
        low=1e-6,
        high=1.0,
        doc="share of the actor in its moving average after an update; the average is what is "
        "published; absent: the actor itself is",
    )
    publish_period: int = setting(100, low=1, unit="critic updates")
    checkpoint_period: int = setting(2_000, low=1, unit="critic updates")
    keep_checkpoints: int = setting(3, low=1)
    log_period: int = setting(100, low=1, unit="critic updates")
    threads: int = setting(1, low=1, high=1024, doc="torch's; 1 leaves the other core alone")
    precision: str = setting(
        "float32", choices=("float32", "bfloat16", "float16"), doc="of hidden layers"
    )
    gradient_accumulation: int = setting(1, low=1, high=1024, doc="parts of a batch; saves memory")
    matmul_precision: str = setting(
        "high", choices=("highest", "high", "medium"), doc='on a GPU; "high" allows TF32'
    )
    cuda_graphs: bool = setting(True, doc="of compiled updates on a GPU")
    compile: str = setting("off", choices=("off", "auto", "on"), doc="20 s at start, then faster")


@dataclass(frozen=True)
class SuccessRecipe:
    """When to stop early: enough of the last evaluation episodes succeeded."""

    episodes: int = setting(0, low=0, high=10_000, doc="0: train to max_env_steps")
    rate: float = setting(0.95, low=0.0, high=1.0, doc="share that must have succeeded")


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe file."""

    name: str = setting()
    agent: AgentRecipe = setting(AgentRecipe())
    encoder: EncoderRecipe | None = setting(None, doc="absent: the agent learns from states")
    critic: NetworkRecipe = setting(NetworkRecipe())
    policy: PolicyRecipe = setting(PolicyRecipe())
    grasp_critic: NetworkRecipe = setting(NetworkRecipe(), doc="of hybrid agents")
    vice: ViceRecipe = setting(ViceRecipe(), doc="of agents of kind vice")
    critic_optimizer: OptimizerRecipe = setting(OptimizerRecipe())
    actor_optimizer: OptimizerRecipe = setting(OptimizerRecipe())
    temperature_optimizer: OptimizerRecipe = setting(OptimizerRecipe())
    grasp_critic_optimizer: OptimizerRecipe = setting(OptimizerRecipe())
    vice_optimizer: OptimizerRecipe = setting(OptimizerRecipe())
    replay: ReplayRecipe = setting(ReplayRecipe())
    training: TrainingRecipe = setting(TrainingRecipe())
    success: SuccessRecipe = setting(SuccessRecipe())

    def to_json(self) -> str:
        """Return every value, defaults included."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def load_recipe(name_or_path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe: the name of a bundled one (`rlpd_state`) or the path of a .toml file.

    Raises ConfigError naming the file, the key and the allowed values.
    """
    path = find_recipe(name_or_path)
    source = Source(str(path))
    document = read_toml(path)
    recipe = parse_table(Recipe, {"name": path.stem} | document, source)
    check_reader(document, recipe.agent.kind, source)
    check_recipe(recipe, source)
    return recipe


def recipe_from_json(text: str, origin: str) -> Recipe:
    """Read back what `to_json` wrote; `origin` is named in errors."""
    table: dict[str, Any] = json.loads(text)
    return parse_table(Recipe, _without_none(table), Source(origin))


def find_recipe(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a recipe by name or path; raises ConfigError when there is none."""
    text = os.fspath(name_or_path)
    if text.endswith(".toml") or os.sep in text:
        path = Path(text)
        if not path.is_file():
            raise ConfigError(f"recipe file {path} does not exist")
        return path
    known = {file.stem: file for file in FOLDER.glob("*.toml")}
    if text not in known:
        raise ConfigError(
            f"unknown recipe '{text}': give the path of a .toml file, or one of the bundled "
            f"recipes: {', '.join(sorted(known))}"
        )
    return known[text]


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
