"""What training changes: networks, their EMA copies, optimizers, the generator, the step count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serl_rt.learner.optim import Optimizer, OptimizerConfig
from serl_rt.learner.vision.trunk import copy_for_targets

Arrays = dict[str, NDArray[np.generic]]


class ModuleDict(nn.ModuleDict):
    """Networks by name; an encoder that several share is stored, counted and copied once."""

    def arrays(self, prefix: str) -> Arrays:
        """Return every parameter and buffer as a numpy copy, shared ones under their first name."""
        tensors = [*self.named_parameters(), *self.named_buffers()]
        return {f"{prefix}{name}": t.detach().cpu().numpy().copy() for name, t in tensors}

    def load_arrays(self, prefix: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Copy values back in place; raises ValueError that names what is missing or misshapen."""
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            _copy(tensor, f"{prefix}{name}", arrays)


class TrainState:
    """Networks with their optimizers and target copies.

    Each optimizer works on the parameters of the network of its name, a shared encoder included.
    SERL's optimizers, in contrast, each cover every parameter and are stepped (with zero
    gradients) even when their network is left out of an update: `all_parameters` and
    `step_unused` reproduce that.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimizers: Mapping[str, OptimizerConfig],
        *,
        targets: Iterable[str] = (),
        seed: int = 0,
        device: torch.device | str = "cpu",
        step_unused: bool = False,
        all_parameters: bool = False,
    ) -> None:
        self.networks = ModuleDict(networks).to(device)
        # One deep copy for all targets: what they share stays shared among them.
        self.targets = ModuleDict(copy_for_targets({name: self.networks[name] for name in targets}))
        self.targets.requires_grad_(False)
        everything = list(self.networks.parameters())
        self.optimizers = {
            name: Optimizer(
                everything if all_parameters else self.networks[name].parameters(), config
            )
            for name, config in optimizers.items()
        }
        self.step_unused = step_unused
        self.average: Callable[[Sequence[Tensor]], None] | None = None
        """Replaces gradients by their mean over the ranks of a distributed run."""
        self.averages = ModuleDict()
        """Slow copies of networks that act in their place; see `keep_averages`."""
        self._average_rate = 0.0
        self._averages: list[Tensor] = []
        self._averaged: list[Tensor] = []
        self.step = 0
        self.generator = torch.Generator(device).manual_seed(seed)
        sources = nn.ModuleDict({name: self.networks[name] for name in self.targets})
        self._targets, self._sources = _parameter_pairs(self.targets, sources)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.generator.device

    def gradients(self, name: str, loss: Tensor) -> list[Tensor]:
        """Differentiate a loss by its network's parameters; zeros for others of its optimizer."""
        covered = self.optimizers[name].parameters
        own = [p for p in self.networks[name].parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, own, materialize_grads=True)
        if len(own) == len(covered):
            return list(gradients)
        found = {id(p): g for p, g in zip(own, gradients, strict=True)}
        return [found.get(id(p), torch.zeros_like(p)) for p in covered]

    def apply_gradients(self, gradients: Mapping[str, Sequence[Tensor]]) -> None:
        """Step the optimizers of the given networks. Compute all gradients before."""
        if self.average is not None:
            self.average([g for name in sorted(gradients) for g in gradients[name]])
        for name, optimizer in self.optimizers.items():
            if name in gradients:
                optimizer.step(gradients[name])
            elif self.step_unused:
                optimizer.zero_step()
        self.step += 1

    @torch.no_grad()
    def update_targets(self, rate: float) -> None:
        """Move the targets, a shared encoder once: target += rate * (parameter - target)."""
        torch._foreach_lerp_(self._targets, self._sources, rate)

    def keep_averages(self, names: Iterable[str], rate: float) -> None:
        """Keep moving averages of the named networks, beginning with what they are now.

        What is published changes more slowly and performs more evenly than what is trained
        (Polyak averaging). `rate` is the share of a network in its average after an update.
        """
        sources = nn.ModuleDict({name: self.networks[name] for name in names})
        self.averages = ModuleDict(copy_for_targets(dict(sources.items())))
        self.averages.requires_grad_(False)
        self._averages, self._averaged = _parameter_pairs(self.averages, sources)
        self._average_rate = rate

    @torch.no_grad()
    def move_averages(self) -> None:
        """Follow the networks after an update; nothing without `keep_averages`."""
        if self._averages:
            torch._foreach_lerp_(self._averages, self._averaged, self._average_rate)

    def acting(self, name: str) -> nn.Module:
        """Return the network that acts: the average where one is kept."""
        return self.averages[name] if name in self.averages else self.networks[name]

    def target_places(self) -> list[tuple[int, int]]:
        """Return (place among `targets.parameters()`, among `networks.parameters()`) per target."""
        targets = {id(p): i for i, p in enumerate(self.targets.parameters())}
        sources = {id(p): i for i, p in enumerate(self.networks.parameters())}
        pairs = zip(self._targets, self._sources, strict=True)
        return [(targets[id(target)], sources[id(source)]) for target, source in pairs]

    def learning_rates(self) -> dict[str, float]:
        """Return `<network>_lr` of the last step."""
        return {f"{name}_lr": o.learning_rate for name, o in self.optimizers.items()}

    def arrays(self) -> Arrays:
        """Return everything as flat named arrays: a checkpoint's content."""
        result = {
            "step": np.asarray(self.step),
            "generator": self.generator.get_state().numpy().copy(),
            **self.networks.arrays("params/"),
            **self.targets.arrays("target/"),
            **self.averages.arrays("average/"),
        }
        for name, optimizer in self.optimizers.items():
            result[f"optimizer/{name}/count"] = np.asarray(optimizer.count)
            for moment, tensors in _moments(optimizer):
                for i, tensor in enumerate(tensors):
                    result[f"optimizer/{name}/{moment}/{i}"] = tensor.cpu().numpy().copy()
        return result

    def load_arrays(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore what `arrays` returned; raises ValueError that names what does not fit."""
        self.networks.load_arrays("params/", arrays)
        self.targets.load_arrays("target/", arrays)
        self.averages.load_arrays("average/", arrays)
        for name, optimizer in self.optimizers.items():
            for moment, tensors in _moments(optimizer):
                for i, tensor in enumerate(tensors):
                    _copy(tensor, f"optimizer/{name}/{moment}/{i}", arrays)
            optimizer.set_count(int(_required(f"optimizer/{name}/count", arrays)))
        self.step = int(_required("step", arrays))
        generator = np.asarray(_required("generator", arrays), dtype=np.uint8)
        self.generator.set_state(torch.from_numpy(generator.copy()))


def _parameter_pairs(target: nn.Module, network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the target's parameters and the network's, without frozen ones: they never differ."""
    pairs = [
        (t, p)
        for t, p in zip(target.parameters(), network.parameters(), strict=True)
        if p.requires_grad
    ]
    return [t for t, _ in pairs], [p for _, p in pairs]


def _moments(optimizer: Optimizer) -> list[tuple[str, list[Tensor]]]:
    return [("first", optimizer.first_moments), ("second", optimizer.second_moments)]


def _required(name: str, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
    try:
        return arrays[name]
    except KeyError:
        raise ValueError(f"'{name}' is missing: saved from another agent?") from None


@torch.no_grad()
def _copy(tensor: Tensor, name: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    array = _required(name, arrays)
    if array.shape != tuple(tensor.shape):
        raise ValueError(
            f"'{name}' has shape {array.shape}, expected {tuple(tensor.shape)}: "
            "saved from another agent?"
        )
    tensor.copy_(torch.from_numpy(np.array(array)))
