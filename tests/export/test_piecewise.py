"""Large files come to the kernel in small pieces, also through what writes them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serl_rt.export.messages import Transitions
from serl_rt.export.piecewise import open_piecewise
from serl_rt.export.publish import PolicyFile, write_policy_file
from serl_rt.learner.checkpoint import load_checkpoint, save_checkpoint
from serl_rt.learner.data.transition_log import TransitionLog

COUNTS = Path("/proc/thread-self/io")
LARGEST_PIECE = 64 * 1024
counted = pytest.mark.skipif(not COUNTS.exists(), reason="this kernel does not count")


def mean_piece(call: Callable[[], object]) -> float:
    """Return how much this thread gives the kernel in one call [bytes] while it does something."""

    def counts() -> tuple[int, int]:
        found = dict(re.findall(r"(\w+): (\d+)", COUNTS.read_text()))
        return int(found["wchar"]), int(found["syscw"])

    bytes_before, calls_before = counts()
    call()
    bytes_after, calls_after = counts()
    return (bytes_after - bytes_before) / (calls_after - calls_before)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_001])
def test_all_bytes_come_into_the_file(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(0).bytes(size)
    with open_piecewise(tmp_path / "file") as stream:
        stream.write(b"before")
        stream.write(data)
        stream.seek(0)
        stream.write(b"BE")
    assert (tmp_path / "file").read_bytes() == b"BEfore" + data


@counted
def test_a_policy_file_is_written_in_small_pieces(tmp_path: Path) -> None:
    policy = PolicyFile(bytes(4_000_000), "", 1, 0, "", "")
    assert mean_piece(lambda: write_policy_file(policy, tmp_path / "a.onnx")) <= LARGEST_PIECE
    assert (tmp_path / "a.onnx").stat().st_size == 4_000_000


@counted
def test_a_checkpoint_is_written_in_small_pieces(tmp_path: Path) -> None:
    arrays = {"weights": np.arange(1_000_000, dtype=np.float32)}
    path = tmp_path / "a.npz"
    assert mean_piece(lambda: save_checkpoint(path, {}, arrays)) <= LARGEST_PIECE
    np.testing.assert_array_equal(load_checkpoint(path, {}).arrays["weights"], arrays["weights"])


@counted
def test_a_message_of_images_is_logged_in_small_pieces(tmp_path: Path) -> None:
    columns = {"observation/x": np.arange(500_000, dtype=np.float32).reshape(50, -1)}
    message = Transitions("1" * 32, 0, columns)
    with TransitionLog(tmp_path, "c" * 64, sync_every=None) as log:
        assert mean_piece(lambda: log.append(message)) <= LARGEST_PIECE
        (found,) = log
    np.testing.assert_array_equal(found.columns["observation/x"], columns["observation/x"])
