"""Images in the controller: drawing them, and sending them to the learner."""

import json
import threading
import time

import numpy as np
import zmq

from bench.producer import logged_rate
from bench.programs import output_of, program
from bench.rows import Row, make_row
from serl_rt.export.columns import transition_columns

REPETITIONS = 5
COUNT = 3000
SIZE = 128
CAMERAS = ("front", "wrist")
BYTES = len(CAMERAS) * SIZE * SIZE * 3
"""Of a step's images."""
CONTRACT = "c" * 64


def render_rows() -> list[Row]:
    """Two images of 128 x 128 in one thread, against two of a single pixel: what is not pixels."""
    drawn, single = [], []
    for _ in range(REPETITIONS):
        for size, results in ((SIZE, drawn), (1, single)):
            line = output_of([program("bench_render"), "--size", str(size), "--images", "300"])
            results.append(json.loads(line)["p50_ms"])
    return [make_row("render_ms", "ms", drawn, "two images of one pixel", single)]


def transport_rows() -> list[Row]:
    """Transitions a second that the learner has logged, against the bytes alone over ZeroMQ."""
    rates = [link_rate(COUNT) for _ in range(REPETITIONS)]
    bare = [bare_rate(COUNT) for _ in range(REPETITIONS)]
    control = "the same image bytes through a PUSH/PULL pair, not stored"
    return [make_row("transport_image_transitions_per_s", "1/s", rates, control, bare)]


def link_rate(count: int) -> float:
    """Transitions with two images a second, see logged_rate()."""
    images = [(name, (SIZE, SIZE, 3)) for name in CAMERAS]
    columns = transition_columns([("x", (7,))], 4, images)
    return logged_rate(
        columns,
        CONTRACT,
        [
            *("--fields", "x:7", "--action", "4"),
            *("--images", ",".join(f"{name}:{SIZE}x{SIZE}" for name in CAMERAS)),
        ],
        count,
    )


def bare_rate(count: int) -> float:
    """Messages of a step's image bytes a second, between two threads."""
    payload = np.zeros(BYTES, np.uint8)
    with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.PULL) as pull:
        port = pull.bind_to_random_port("tcp://127.0.0.1")

        def send() -> None:
            with context.socket(zmq.PUSH) as push:
                push.connect(f"tcp://127.0.0.1:{port}")
                for _ in range(count):
                    push.send(payload.data)

        began = time.perf_counter()
        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(count):
            pull.recv()
        sender.join()
        return count / (time.perf_counter() - began)
