"""A learner's server with its log, and a controller that is connected to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_client import COLUMNS, CONTRACT, Controller

from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TransitionLog]:
    with TransitionLog(tmp_path / "log", CONTRACT) as opened:
        yield opened


@pytest.fixture
def server(log: TransitionLog) -> Iterator[LearnerServer]:
    with LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*") as running:
        yield running


@pytest.fixture
def controller(server: LearnerServer) -> Iterator[Controller]:
    with Controller(server.address) as connected:
        yield connected
