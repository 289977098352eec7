"""The main job end to end: what `make demo-smoke` runs, and the pieces that show it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serl_rt.sim.demo import main
from serl_rt.sim.metrics import MetricsFollower
from serl_rt.sim.processes import Process, ProcessFailed
from serl_rt.sim.report import moving_average

SUMMARY_KEYS = {
    "task", "success_rate", "eval_episodes", "env_steps", "wall_s", "updates",
    "policies_published", "policies_swapped", "policies_refused", "transitions_sent",
    "transitions_stored", "late_ticks", "seed",
}  # fmt: skip


@pytest.mark.slow
def test_smoke_demo_learns_to_reach(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = subprocess.run(
        [sys.executable, "-m", "serl_rt.cli", "demo", "--task", "reach", "--run", str(run)],
        capture_output=True, text=True, timeout=900, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) >= SUMMARY_KEYS
    assert summary["success_rate"] >= 0.9
    assert summary["eval_episodes"] == 50
    assert summary["transitions_stored"] == summary["transitions_sent"] > 0
    assert summary["policies_swapped"] >= 20
    assert summary["policies_refused"] == 0
    with Image.open(run / "learning.png") as plot:
        assert np.asarray(plot.convert("L")).std() > 5.0  # something is drawn
    with Image.open(run / "policy.gif") as clip:
        assert clip.n_frames > 10  # type: ignore[attr-defined]


def test_unknown_pair_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--task", "reach", "--reward", "sparse"]) == 2
    assert "pick_cube dense" in capsys.readouterr().err


def test_follower_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = MetricsFollower(path)
    follower.poll()  # no file yet
    row = {
        "kind": "evaluation", "env_steps": 50, "time_s": 1.5, "total_reward": 2.0, "success": 1.0,
    }  # fmt: skip
    text = json.dumps(row) + "\n"
    path.write_text(text + text[:20])
    follower.poll()
    assert len(follower.episodes) == 1
    with path.open("a") as file:
        file.write(text[20:])
    follower.poll()
    assert [episode.success for episode in follower.episodes] == [True, True]
    assert follower.success(evaluation=True) == "2/2"
    assert follower.success(evaluation=False) == "0/0"


def test_moving_average_starts_with_what_there_is() -> None:
    averages = moving_average([1.0, 0.0, 1.0, 1.0], 2)
    assert averages.tolist() == [1.0, 0.5, 0.5, 1.0]


def test_failed_process_shows_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such robot'); raise SystemExit(3)"]
    with (
        Process("controller", command, tmp_path / "log") as process,
        pytest.raises(ProcessFailed, match=r"status 3(.|\n)*no such robot"),
    ):
        process.wait(30.0)


def test_a_folder_that_no_demo_wrote_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["--task", "reach", "--run", str(tmp_path)]) == 2
    assert "no demo wrote" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
