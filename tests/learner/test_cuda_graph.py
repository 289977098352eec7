"""What surrounds a CUDA graph, with a stand-in for the recording: there is no GPU in tests."""

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from serl_rt.learner.cuda_graph import GraphedFunction


def add_to(x: Tensor, total: Tensor) -> dict[str, Tensor]:
    total.add_(x)
    return {"sum": x.sum()}


class Recorder:
    """As a graph: later runs read and write where the recording did."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(
        self, function: Callable[[], dict[str, Tensor]], warm_up: Callable[[], object]
    ) -> tuple[Callable[[], object], dict[str, Tensor]]:
        self.count += 1
        warm_up()
        results = {"sum": torch.zeros(())}
        return lambda: results["sum"].copy_(function()["sum"]), results


def test_inputs_are_copied_in_and_results_out() -> None:
    recorder, total = Recorder(), torch.zeros(3)
    function = GraphedFunction(add_to, 1, recorder)
    first = function(torch.ones(3), total)
    second = function(torch.full((3,), 2.0), total)
    torch.testing.assert_close(total, torch.full((3,), 3.0))  # the warm-up left it alone
    assert float(first["sum"]) == 3.0  # not overwritten by the second
    assert float(second["sum"]) == 6.0
    assert recorder.count == 1


def test_other_held_tensors_are_recorded_anew() -> None:
    recorder, a, b = Recorder(), torch.zeros(3), torch.zeros(3)
    function = GraphedFunction(add_to, 1, recorder)
    function(torch.ones(3), a)
    function(torch.ones(3), b)
    assert recorder.count == 2
    torch.testing.assert_close(a, torch.ones(3))
    torch.testing.assert_close(b, torch.ones(3))


def test_without_a_recording_the_function_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> tuple[Callable[[], object], dict[str, Tensor]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    total = torch.zeros(3)
    function = GraphedFunction(add_to, 1, fail)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert float(function(torch.ones(3), total)["sum"]) == 3.0
    torch.testing.assert_close(total, torch.full((3,), 2.0))
    assert caplog.text.count("without a CUDA graph: operation not permitted") == 1
