"""Steps of SERL's environment a second through `serl-rt http`: clear, pose, get the state."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.rows import Row, make_row

REPETITIONS = 5
STEPS = 200
PACE_HZ = 100.0
START_S = 60.0

# The control: the same framework and server, the same three requests, nothing behind them.
BARE = """
import sys, uvicorn
from fastapi import Body, FastAPI
from fastapi.responses import PlainTextResponse
app = FastAPI()
state = {"pose": [0.1] * 7, "vel": [0.1] * 6, "force": [0.1] * 3, "torque": [0.1] * 3,
         "q": [0.1] * 7, "dq": [0.1] * 7, "jacobian": [[0.1] * 7] * 6, "gripper_pos": 1.0}
@app.post("/clearerr", response_class=PlainTextResponse)
def clearerr() -> str:
    return "Clear"
@app.post("/pose", response_class=PlainTextResponse)
def pose(body: dict[str, list[float]]) -> str:
    return "Moved"
@app.post("/getstate")
def getstate():
    return state
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


def rows() -> list[Row]:
    """Measure steps as fast as they go, against the bare server, and at a fixed pace."""
    ours: list[float] = []
    bare: list[float] = []
    paced: list[float] = []
    with (
        served([sys.executable, "-m", "serl_rt.cli", "http", "--start", "sim", "--port"]) as port,
        served([sys.executable, "-c", BARE]) as bare_port,
    ):
        pose = _post(port, "getstate")["pose"]
        for _ in range(REPETITIONS):
            ours.append(steps_per_s(port, pose))
            bare.append(steps_per_s(bare_port, pose))
            paced.append(steps_per_s(port, pose, PACE_HZ))
    return [
        make_row("http_steps_per_s", "1/s", ours, "the same routes with nothing behind them", bare),
        make_row("http_paced_steps_per_s", "1/s", paced, "the pace asked for", [PACE_HZ]),
    ]


def steps_per_s(port: int, pose: list[float], pace_hz: float | None = None) -> float:
    """Return how many steps a second were done; at most `pace_hz`."""
    begin = time.perf_counter()
    for step in range(1, STEPS + 1):
        _post(port, "clearerr")
        _post(port, "pose", {"arr": pose})
        _post(port, "getstate")
        if pace_hz is not None:
            time.sleep(max(0.0, begin + step / pace_hz - time.perf_counter()))
    return STEPS / (time.perf_counter() - begin)


@contextmanager
def served(command: list[str]) -> Iterator[int]:
    """Run a server that takes its port as the last argument, and wait until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    process = subprocess.Popen([*command, str(port)])
    try:
        end = time.monotonic() + START_S
        while True:
            try:
                _post(port, "getstate")
                break
            except ConnectionError:
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{' '.join(command[:5])} ... does not answer")
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def _post(port: int, route: str, body: dict[str, object] | None = None) -> dict[str, list[float]]:
    # A connection for each request, as requests.post() makes it.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    data = b"" if body is None else json.dumps(body).encode()
    connection.request("POST", f"/{route}", data, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    if reply.status != 200:
        sys.exit(f"{route}: {reply.status} {text.decode()}")
    result: dict[str, list[float]] = json.loads(text) if route == "getstate" else {}
    return result
