"""Transitions of the C++ link, produced as fast as the learner takes them."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.programs import program
from serl_rt.export.columns import Column
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer, TransitionBatch

TIMEOUT_S = 60.0


def logged_rate(
    columns: tuple[Column, ...],
    contract_id: str,
    arguments: Sequence[str],
    count: int,
    take: Callable[[TransitionBatch], None] = lambda batch: None,
) -> float:
    """Transitions a second, from the producer's first push to its last acknowledgement.

    arguments: of link_producer, what the transitions look like. `take` gets them in their order,
    already logged. Raises TimeoutError when they stop coming.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        TransitionLog(Path(folder), contract_id) as log,
        LearnerServer(log, columns, "tcp://127.0.0.1:*") as server,
        subprocess.Popen(
            [
                str(program("link_producer")),
                *("--endpoint", server.address, "--count", str(count)),
                *("--contract-id", contract_id, *arguments),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as producer,
    ):
        stored = 0
        while stored < count:
            if not server.wait(TIMEOUT_S):
                producer.kill()
                raise TimeoutError(f"no transition within {TIMEOUT_S} s; {stored} of {count} came")
            for batch in server.drain():
                take(batch)
                stored += batch.count
        output, _ = producer.communicate(timeout=TIMEOUT_S)
        assert log.count == count
        seconds: float = json.loads(output.splitlines()[-1])["seconds"]
        return count / seconds
