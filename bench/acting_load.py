"""What an image policy costs a machine, without a controller: a control for what it disturbs.

python -m bench.acting_load TASK POLICY.onnx RATE_HZ SWAP_INTERVAL_S runs the policy at its rate,
and opens it anew at every interval as a swap does, until it is ended.
"""

import sys
import threading
import time
from pathlib import Path

from serl_rt.export.contract import Contract
from serl_rt.export.task import load_task
from serl_rt.export.verify import OnnxPolicy, make_probes


def act(model: bytes, contract: Contract, rate_hz: float) -> None:
    """Run the policy at its rate, for ever."""
    policy, probes = OnnxPolicy(model, contract), make_probes(contract, 1)
    due = time.monotonic()
    while True:
        policy.act(*probes.row(0))
        due += 1.0 / rate_hz
        time.sleep(max(0.0, due - time.monotonic()))


def main(task: str, policy: str, rate_hz: str, interval_s: str) -> None:
    """Run until a signal ends the process."""
    contract, model = load_task(task).contract, Path(policy).read_bytes()
    acting = threading.Thread(target=act, args=(model, contract, float(rate_hz)), daemon=True)
    acting.start()
    while True:
        time.sleep(float(interval_s))
        OnnxPolicy(model, contract)


if __name__ == "__main__":
    main(*sys.argv[1:])
