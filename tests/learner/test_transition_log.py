"""The transition log: what is appended is read again, whatever interrupts the writing."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from serl_rt.export.messages import Transitions
from serl_rt.learner.data.transition_log import TransitionLog, TransitionLogError

CONTRACT = "c" * 64
RUN = "1" * 32
OTHER_RUN = "2" * 32


def make(first: int, count: int, run_id: str = RUN) -> Transitions:
    """Return transitions whose values are their numbers."""
    numbers = np.arange(first, first + count)
    columns = {
        "observation/x": np.stack([numbers, -numbers], axis=1).astype("f4"),
        "done": (numbers % 2).astype("u1"),
        "time_ns": numbers.astype("i8"),
    }
    return Transitions(run_id, first, columns)


def read(log: TransitionLog) -> dict[str, list[int]]:
    """Return the numbers in the log, per run, and check the other columns."""
    numbers: dict[str, list[int]] = {}
    for message in log:
        times = message.columns["time_ns"]
        assert times[0] == message.first_seq
        np.testing.assert_array_equal(message.columns["observation/x"][:, 1], -times)
        np.testing.assert_array_equal(message.columns["done"], times % 2)
        numbers.setdefault(message.run_id, []).extend(times.tolist())
    return numbers


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT) as log:
        learner_id = log.learner_id
        assert log.next_seq(RUN) is None
        for first in range(0, 50, 5):
            log.append(make(first, 5))
        log.append(make(0, 7, OTHER_RUN))
        assert log.next_seq(RUN) == 50
        assert read(log) == {RUN: list(range(50)), OTHER_RUN: list(range(7))}
    with TransitionLog(tmp_path, CONTRACT) as log:
        assert log.learner_id == learner_id
        assert log.next_seq(RUN) == 50
        assert log.next_seq(OTHER_RUN) == 7
        assert log.count == 57
        assert log.dropped_bytes == 0
        log.append(make(50, 1))
        assert read(log)[RUN] == list(range(51))


def test_segments_are_read_in_order(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT, segment_bytes=500) as log:
        for first in range(0, 300, 3):
            log.append(make(first, 3))
    assert len(segments(tmp_path)) > 3
    with TransitionLog(tmp_path, CONTRACT, segment_bytes=500) as log:
        assert read(log)[RUN] == list(range(300))
        assert log.count == 300


def test_every_interrupted_write_is_dropped(tmp_path: Path) -> None:
    with TransitionLog(tmp_path / "whole", CONTRACT) as log:
        log.append(make(0, 4))
        complete = segments(tmp_path / "whole")[0].stat().st_size
        log.append(make(4, 3))
    data = segments(tmp_path / "whole")[0].read_bytes()
    for length in range(complete, len(data)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "transitions-000000.log").write_bytes(data[:length])
        with TransitionLog(folder, CONTRACT) as log:
            assert log.next_seq(RUN) == 4
            assert log.dropped_bytes == length - complete
            log.append(make(4, 2))
        with TransitionLog(folder, CONTRACT) as log:
            assert read(log)[RUN] == list(range(6))
            assert log.dropped_bytes == 0


def test_a_segment_whose_start_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    with TransitionLog(tmp_path / "whole", CONTRACT, segment_bytes=1) as log:
        log.append(make(0, 4))
        log.append(make(4, 4))
    *complete, last = segments(tmp_path / "whole")
    start = complete[0].read_bytes()  # a segment without messages
    for length in range(len(start)):
        folder = tmp_path / str(length)
        folder.mkdir()
        for path in complete:
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / last.name).write_bytes(start[:length])
        with TransitionLog(folder, CONTRACT) as log:
            assert log.count == 4
            assert log.dropped_bytes == length
            log.append(make(4, 4))
            assert read(log)[RUN] == list(range(8))


def test_zeros_after_a_power_cut_are_dropped(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT) as log:
        log.append(make(0, 4))
    with segments(tmp_path)[0].open("ab") as stream:
        stream.write(bytes(5000))
    with TransitionLog(tmp_path, CONTRACT) as log:
        assert log.dropped_bytes == 5000
        assert read(log)[RUN] == list(range(4))


def test_damage_before_the_end_is_reported_not_repaired(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT) as log:
        log.append(make(0, 4))
        middle = segments(tmp_path)[0].stat().st_size
        log.append(make(4, 4))
        log.append(make(8, 4))
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[middle + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(TransitionLogError, match=f"damaged at byte {middle} of {len(data)}"):
        TransitionLog(tmp_path, CONTRACT)
    assert path.read_bytes() == data
    os.truncate(path, middle)  # what the message advises
    with TransitionLog(tmp_path, CONTRACT) as log:
        assert read(log)[RUN] == list(range(4))


def test_a_torn_segment_before_the_last_is_reported(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT, segment_bytes=1) as log:
        log.append(make(0, 4))
        log.append(make(4, 4))
    first = segments(tmp_path)[1]
    os.truncate(first, first.stat().st_size - 1)
    with pytest.raises(TransitionLogError, match="a later file exists"):
        TransitionLog(tmp_path, CONTRACT)


def test_other_files_and_other_contracts_are_refused(tmp_path: Path) -> None:
    with TransitionLog(tmp_path / "a", CONTRACT) as log:
        log.append(make(0, 4))
    with pytest.raises(TransitionLogError, match="belongs to contract c+, this run has d+"):
        TransitionLog(tmp_path / "a", "d" * 64)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/transitions-000000.log").write_bytes(b"something else")
    with pytest.raises(TransitionLogError, match="not a transition log of format 1"):
        TransitionLog(tmp_path / "b", CONTRACT)


def test_only_one_learner_at_a_time(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT):
        with pytest.raises(TransitionLogError, match="in use by another learner"):
            TransitionLog(tmp_path, CONTRACT)
    TransitionLog(tmp_path, CONTRACT).close()


def test_a_transition_cannot_be_appended_twice(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT) as log:
        log.append(make(0, 4))
        with pytest.raises(ValueError, match="already in the log"):
            log.append(make(3, 4))
        log.append(make(10, 1))  # transitions that nobody has any more
        assert log.next_seq(RUN) == 11
        assert log.count == 5


def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransitionLog(tmp_path, CONTRACT) as log:
        log.append(make(0, 4))
        write = os.write

        def half_then_full(fd: int, data: memoryview) -> int:
            if len(data) > 60:
                return write(fd, data[:50])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", half_then_full)
        with pytest.raises(OSError, match="No space"):
            log.append(make(4, 1))
        monkeypatch.undo()
        assert log.next_seq(RUN) == 4
        log.append(make(4, 4))
        assert read(log)[RUN] == list(range(8))
