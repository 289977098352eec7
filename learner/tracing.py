"""Functions of tensors, traced to graphs and compiled.

`make_fx` runs a function and records every operation; equal operations are then merged, which is
right for functions that read first and write last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.utils import _pytree as pytree

from serl_rt.learner.cuda_graph import GraphedFunction

Compiler = Callable[[GraphModule, list[Tensor]], Callable[..., Any]]
Metrics = dict[str, Tensor | float]


class Held:
    """A tree of tensors that stay the same objects, flattened once."""

    def __init__(self, tree: Any) -> None:
        self.leaves, self.spec = pytree.tree_flatten(tree)


class Traced:
    """A function of a tree of new tensors and a tree of held ones, traced and compiled."""

    def __init__(
        self,
        function: Callable[[Any, Any], Metrics],
        given: Any,
        held: Held,
        compiler: Compiler,
        cuda_graphs: bool = False,
    ) -> None:
        leaves, spec = pytree.tree_flatten(given)
        count = len(leaves)

        def flat(*tensors: Tensor) -> Metrics:
            return function(
                pytree.tree_unflatten(list(tensors[:count]), spec),
                pytree.tree_unflatten(list(tensors[count:]), held.spec),
            )

        copies = [tensor.detach().clone() for tensor in (*leaves, *held.leaves)]
        with torch.enable_grad():
            graph = make_fx(flat, decomposition_table=DECOMPOSITIONS)(*copies)
        merged = CSEPass()(graph)
        assert merged is not None
        self.compiled = compiler(merged.graph_module, copies)
        if cuda_graphs:
            self.compiled = GraphedFunction(self.compiled, count)

    @torch.no_grad()
    def __call__(self, given: Any, held: Held) -> Metrics:
        result: Metrics = self.compiled(*pytree.tree_leaves(given), *held.leaves)
        return result


class RecordingDraws:
    """Draws, and notes what was asked for."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.requests: list[tuple[str, tuple[int, ...]]] = []
        self.values: list[Tensor] = []

    def normal(self, *shape: int) -> Tensor:
        self.requests.append(("normal", shape))
        device = self.generator.device
        self.values.append(torch.randn(shape, generator=self.generator, device=device))
        return self.values[-1]

    def integers(self, high: int, *shape: int) -> Tensor:
        self.requests.append(("integers", (high, *shape)))
        device = self.generator.device
        self.values.append(torch.randint(high, shape, generator=self.generator, device=device))
        return self.values[-1]


class GivenDraws:
    """Hands out given numbers in order."""

    def __init__(self, values: Iterable[Tensor]) -> None:
        self.values = iter(values)

    def normal(self, *shape: int) -> Tensor:
        return next(self.values)

    def integers(self, high: int, *shape: int) -> Tensor:
        return next(self.values)


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Two passes over a row that is in the first cache, instead of the compiler's running mean.

    As the library's, its result has the type of the rows, its statistics that of the weights.
    """
    axes = tuple(range(-len(shape), 0))
    row = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    mean = row.mean(axes, keepdim=True)
    centred = row - mean
    scale = (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    normal = centred * scale
    if weight is not None:
        normal = normal * weight
    if bias is not None:
        normal = normal + bias
    kept = x.dtype if weight is None else weight.dtype
    return normal.to(x.dtype), mean.to(kept), scale.to(kept)


TANH_LIMIT = 8.0
"""Beyond it tanh differs from 1 by less than 3e-7."""
TANH_NUMERATOR = (0.999999994, 0.13444496, 0.00357159564, 2.18946224e-05, 1.52303622e-08)
TANH_DENOMINATOR = (1.0, 0.467778233, 0.0261644339, 0.000341128811, 8.52242408e-07)
"""tanh(x) = x p(x^2) / q(x^2), constant terms first: the least largest relative error up to the
limit, 6e-9, fitted by least squares with weights that follow the error (Lawson 1961)."""


def _tanh(x: Tensor) -> Tensor:
    """Right to 4e-7 relatively, by few multiplications where the library's is a function call."""
    row = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    row = row.clamp(-TANH_LIMIT, TANH_LIMIT)
    square = row * row
    quotient = _polynomial(TANH_NUMERATOR, square) / _polynomial(TANH_DENOMINATOR, square)
    return (row * quotient).to(x.dtype)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Horner's scheme; constant term first."""
    *lower, last = coefficients
    result = lower.pop() + last * x
    while lower:
        result = lower.pop() + result * x
    return result


def _baddbmm(
    bias: Tensor, x: Tensor, y: Tensor, *, beta: float = 1.0, alpha: float = 1.0
) -> Tensor:
    """Add the bias where the product is read next, not by copying it to where it is written."""
    return (
        alpha * torch.bmm(x, y) + beta * bias if (alpha, beta) != (1, 1) else torch.bmm(x, y) + bias
    )


DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten.baddbmm.default: _baddbmm,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
    torch.ops.aten.tanh.default: _tanh,
}
