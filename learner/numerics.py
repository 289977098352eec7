"""How gradients are computed: in which precision, and in how many parts of a batch.

Mixed precision (Micikevicius et al. 2018): hidden layers compute in 16 bits under autocast, last
layers, losses, parameters and optimizers in 32. float16 has few exponents, so its loss is scaled up
while gradients are computed, by a factor that follows what overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from serl_rt.learner.agents.losses import Info, mean_info
from serl_rt.learner.data.batch import Batch, slice_batch

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
MATMUL_PRECISIONS = ("highest", "high", "medium")
FIRST_SCALE, LARGEST_SCALE, GROWTH_INTERVAL = 2.0**16, 2.0**24, 2000

Loss = Callable[[Batch], tuple[Tensor, Info]]


@dataclass
class Numerics:
    """Settings, and for float16 the state of the loss scale."""

    precision: str = "float32"
    accumulation: int = 1
    """Parts of a batch whose gradients are averaged: less memory for the same update."""
    cuda_graphs: bool = True
    """Launch compiled updates on a GPU as CUDA graphs."""
    scale: float = field(init=False, default=1.0)
    """Factor on the losses, 1 but for float16."""
    skipped: int = field(init=False, default=0)
    """Updates that were left out because float16 overflowed."""
    _good: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision '{self.precision}': choose {', '.join(PRECISIONS)}")
        if self.accumulation < 1:
            raise ValueError(f"accumulation = {self.accumulation}: must be at least 1")
        if self.precision == "float16":
            self.scale = FIRST_SCALE

    def gradients(
        self, loss_function: Loss, batch: Batch, differentiate: Callable[[Tensor], Sequence[Tensor]]
    ) -> tuple[list[Tensor], Info]:
        """Return gradient and metrics of a loss, the mean over the parts of the batch.

        Raises ValueError when the batch does not divide.
        """
        if batch.size % self.accumulation:
            raise ValueError(
                f"gradient_accumulation = {self.accumulation} does not divide the batch of "
                f"{batch.size}"
            )
        size = batch.size // self.accumulation
        total: list[Tensor] = []
        infos: list[Info] = []
        for start in range(0, batch.size, size):
            part = batch if size == batch.size else slice_batch(batch, start, start + size)
            loss, info = self._evaluate(loss_function, part)
            infos.append(info)
            new = differentiate(loss * self.scale if self.scale != 1.0 else loss)
            total = [a + b for a, b in zip(total, new, strict=True)] if total else list(new)
        factor = 1.0 / (self.accumulation * self.scale)
        if factor != 1.0:
            total = [gradient * factor for gradient in total]
        return total, infos[0] if len(infos) == 1 else mean_info(infos)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which networks compute."""
        dtype = PRECISIONS[self.precision]
        if dtype is None:
            return nullcontext()
        # Casts are not cached: traced functions would keep those of another call.
        return torch.autocast(device.type, dtype, cache_enabled=False)

    def usable(self, gradients: Mapping[str, Sequence[Tensor]]) -> bool:
        """Whether to step: only float16 overflows as a matter of course, and then tries again."""
        if self.precision != "float16":
            return True
        finite = all(bool(torch.isfinite(g).all()) for gs in gradients.values() for g in gs)
        if finite:
            self._good += 1
            if self._good % GROWTH_INTERVAL == 0:
                self.scale = min(2.0 * self.scale, LARGEST_SCALE)
        else:
            self.scale, self._good = max(0.5 * self.scale, 1.0), 0
            self.skipped += 1
        return finite

    def _evaluate(self, loss_function: Loss, batch: Batch) -> tuple[Tensor, Info]:
        with self.autocast(batch.rewards.device):
            return loss_function(batch)


def set_matmul_precision(precision: str) -> None:
    """Choose how float32 products are computed on a GPU: "high" allows TF32, "highest" does not.

    Also lets cuDNN pick its fastest convolutions by trial: shapes do not change while training.
    """
    if precision not in MATMUL_PRECISIONS:
        raise ValueError(f"matmul precision '{precision}': choose {', '.join(MATMUL_PRECISIONS)}")
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"
    torch.backends.cudnn.benchmark = True
