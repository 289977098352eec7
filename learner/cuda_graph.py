"""CUDA graphs: a compiled function's kernels launched together, by one call.

Small updates on a GPU wait for the launches of their kernels. A graph records them once, with their
addresses: inputs are copied to where it reads, outputs to where the caller may keep them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Function = Callable[..., dict[str, Any]]
WARM_UPS = 3


class Capture(Protocol):
    """Records what a function launches."""

    def __call__(
        self, function: Callable[[], dict[str, Any]], warm_up: Callable[[], object]
    ) -> tuple[Callable[[], object], dict[str, Any]]:
        """Return what launches it again, and the results that each launch writes anew.

        Recording runs nothing. `warm_up` does the same work on other memory.
        """


def capture_cuda_graph(
    function: Callable[[], dict[str, Any]], warm_up: Callable[[], object]
) -> tuple[Callable[[], object], dict[str, Any]]:
    """Record a CUDA graph, after warm-ups on a stream of their own, as capturing demands."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            warm_up()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = function()
    return graph.replay, results


class GraphedFunction:
    """A function of new tensors, then held ones that it may write, as one graph.

    Recorded at the first call, and again when other held tensors come. Where recording fails it
    goes on without, with a warning.
    """

    def __init__(self, function: Function, new: int, capture: Capture = capture_cuda_graph) -> None:
        """`new` is the number of leading arguments that are other tensors at each call."""
        self.function, self.new, self.capture = function, new, capture
        self._addresses: tuple[int, ...] | None = None
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], object] | None = None
        self._results: dict[str, Any] = {}

    def __call__(self, *tensors: Tensor) -> dict[str, Any]:
        """Do what the function does."""
        new, held = tensors[: self.new], tensors[self.new :]
        addresses = tuple(tensor.data_ptr() for tensor in held)
        if addresses != self._addresses:
            self._addresses = addresses
            self._record(new, held)
        if self._replay is None:
            return self.function(*tensors)
        for place, value in zip(self._inputs, new, strict=True):
            place.copy_(value, non_blocking=True)
        self._replay()
        return {
            name: value.clone() if isinstance(value, Tensor) else value
            for name, value in self._results.items()
        }

    def _record(self, new: Sequence[Tensor], held: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in new]
        copies = [tensor.clone() for tensor in held]  # warming up must not update the agent
        try:
            self._replay, self._results = self.capture(
                lambda: self.function(*self._inputs, *held),
                lambda: self.function(*self._inputs, *copies),
            )
        except RuntimeError as error:
            log.warning("updates go on without a CUDA graph: %s", error)
            self._replay = None
