"""Transitions a second from a C++ controller into the learner: acknowledged, logged, in arrays."""

import pickle
import subprocess
import sys
import time

import numpy as np
import zmq

from bench.producer import logged_rate
from bench.rows import Row, make_row
from serl_rt.export.columns import DTYPES, Column, transition_columns
from serl_rt.export.task import TaskFile, load_task
from serl_rt.learner.receive import TransitionBatch

COUNT = 200_000
CONTROL_COUNT = 20_000
REPETITIONS = 5
REQUEST_SIZE = 30
"""Transitions of one request of the control: SERL's actor sends every 30 steps."""

# The control's sender: one dict a transition, pickled, request and reply.
SENDER = """
import pickle, sys, zmq
import numpy as np
count, size, width = (int(argument) for argument in sys.argv[2:])
socket = zmq.Context().socket(zmq.REQ)
socket.connect(sys.argv[1])
for first in range(0, count, size):
    observation = np.zeros(width, np.float32)
    transitions = [
        {"observations": observation, "actions": observation[:4], "next_observations": observation,
         "rewards": float(i), "masks": 1.0, "dones": False}
        for i in range(first, min(first + size, count))
    ]
    socket.send(pickle.dumps(transitions))
    socket.recv()
"""


def rows() -> list[Row]:
    """The link against pickled dicts over REQ/REP, both into preallocated arrays."""
    task = load_task("pick_cube")
    rates = [link_rate(task, COUNT) for _ in range(REPETITIONS)]
    pickled = [pickle_rate(task, CONTROL_COUNT) for _ in range(REPETITIONS)]
    control = f"pickled dicts, {REQUEST_SIZE} a request, Python to Python, not logged"
    return [make_row("transport_transitions_per_s", "1/s", rates, control, pickled)]


def run() -> dict[str, float]:
    """Return the rate and its control, one repetition each [transitions/s]."""
    task = load_task("pick_cube")
    return {
        "transport_transitions_per_s": link_rate(task, COUNT),
        "pickle_transitions_per_s": pickle_rate(task, CONTROL_COUNT),
    }


def link_rate(task: TaskFile, count: int) -> float:
    """Transitions a second that end up in arrays, too, see logged_rate()."""
    fields = [(field.name, field.shape) for field in task.contract.observation]
    action_dim = task.contract.action_dim
    columns = transition_columns(fields, action_dim)
    arrays = _arrays(columns, count)
    sizes = ",".join(f"{field.name}:{field.size}" for field in task.contract.observation)
    filled = 0

    def take(batch: TransitionBatch) -> None:
        nonlocal filled
        for name, array in batch.columns.items():
            arrays[name][filled : filled + batch.count] = array
        filled += batch.count

    arguments = ["--fields", sizes, "--action", str(action_dim)]
    rate = logged_rate(columns, task.contract.contract_id, arguments, count, take)
    assert np.array_equal(np.diff(arrays["time_ns"]), np.full(count - 1, 100_000_000))
    return rate


def pickle_rate(task: TaskFile, count: int) -> float:
    """Transitions a second of the control, from the first request to the last."""
    width = task.contract.observation_dim
    observations = np.empty((2, count, width), np.float32)
    actions = np.empty((count, 4), np.float32)
    scalars = np.empty((3, count), np.float32)
    with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.REP) as socket:
        socket.bind("tcp://127.0.0.1:*")
        address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        arguments = [address, str(count), str(REQUEST_SIZE), str(width)]
        with subprocess.Popen([sys.executable, "-c", SENDER, *arguments]):
            row, began = 0, 0.0
            while row < count:
                # Our own child's bytes; nothing else in this project reads a pickle off a socket.
                transitions = pickle.loads(socket.recv())
                began = began or time.perf_counter()
                for transition in transitions:
                    observations[0, row] = transition["observations"]
                    observations[1, row] = transition["next_observations"]
                    actions[row] = transition["actions"]
                    scalars[:, row] = [transition[k] for k in ("rewards", "masks", "dones")]
                    row += 1
                socket.send(b"")
            return count / (time.perf_counter() - began)


def _arrays(columns: tuple[Column, ...], count: int) -> dict[str, np.ndarray]:
    return {
        column.name: np.empty((count, *column.shape), DTYPES[column.dtype]) for column in columns
    }
