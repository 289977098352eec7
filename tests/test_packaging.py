"""What gets installed: the learner's wheel needs no compiler and carries the files it reads."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def learner_wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        # Nothing that could compile is found.
        env=os.environ | {"SERL_RT_CONTROLLER": "OFF", "CXX": "/nonexistent", "CC": "/nonexistent"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.endswith("-none-any.whl")
    return zipfile.ZipFile(wheel)


def test_learner_wheel_has_no_binary_and_no_sources(learner_wheel: zipfile.ZipFile) -> None:
    names = learner_wheel.namelist()
    assert not [name for name in names if name.endswith((".so", ".cpp", ".hpp"))]


DATA = ("controller/tasks/*.toml", "learner/recipes/*.toml", "sim/assets/*", "*/py.typed")


@pytest.mark.parametrize("pattern", [*DATA, "cli/*.py", "controller/**/*.py", "controller/*.pyi"])
def test_learner_wheel_carries(pattern: str, learner_wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(
        ["git", "ls-files", f":(glob){pattern}"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    wanted = {f"serl_rt/{name}" for name in listed.stdout.split()}
    assert wanted
    assert wanted <= set(learner_wheel.namelist())


def test_learner_wheel_brings_the_command(learner_wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (n for n in learner_wheel.namelist() if n.endswith("entry_points.txt"))
    assert "serl-rt = serl_rt.cli.main:main" in learner_wheel.read(entry_points).decode()


def test_unknown_command_lists_the_known_ones() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "serl_rt.cli", "fly"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "unknown command 'fly'" in result.stderr
    assert "demo, control, learn" in result.stderr
