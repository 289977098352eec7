"""Task files: bundled ones are valid, wrong ones are refused with file, key and allowed values."""

from pathlib import Path

import pytest

from serl_rt.export.task import bundled_tasks, find_task, load_task
from serl_rt.export.toml_config import ConfigError

TASK = """
name = "reach"
[contract]
policy_rate_hz = 10.0
workspace = { low = [0.3, -0.25, 0.0], high = [0.7, 0.25, 0.5] }
[[contract.observation]]
name = "tcp_position"
shape = [3]
unit = "m"
frame = "base"
low = [0.3, -0.25, 0.0]
high = [0.7, 0.25, 0.5]
[[contract.action]]
name = "tcp_delta"
shape = [3]
scale = [0.05, 0.05, 0.05]
[episode]
max_steps = 50
reward = "dense"
[sim]
anything = "the controller checks it"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my_task.toml"
    path.write_text(text)
    return path


def test_every_bundled_task_is_valid() -> None:
    tasks = bundled_tasks()
    assert "pick_cube" in tasks
    for name, path in tasks.items():
        task = load_task(name)
        assert task.name == name
        assert task.path == path
        assert task.contract.name == name
        assert task.episode.max_steps > 0


def test_a_path_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, TASK)
    task = load_task(path)
    assert task.name == "reach"
    assert task.contract.action_dim == 3
    assert (task.episode.max_steps, task.episode.reward) == (50, "dense")
    assert task.episode.terminate_on_success is False
    assert load_task(str(path)) == task


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "reach"', "", ["name"]),
        ("[episode]", "[episodes]", ["episodes", "did you mean 'episode'"]),
        ("[sim]", "[simulation]", ["simulation", "allowed", "sim"]),
        ("max_steps = 50", "max_steps = 0", ["[episode] max_steps = 0", "from 1 to 1000000"]),
        ("max_steps = 50", "max_steps = 5.5", ["max_steps = 5.5", "integer"]),
        ("max_steps = 50", "maximum_steps = 5", ["maximum_steps", "max_steps"]),
        ('reward = "dense"', 'reward = "sprase"', ["reward", '"dense", "sparse", "classifier"']),
        ("[sim]", "[reward_classifier]\nthreshold = 1.0\n[sim]", ["threshold = 1.0", "0.999"]),
        ("[sim]", '[reward_classifier]\nmodle = "a.onnx"\n[sim]', ["did you mean 'model'"]),
        ("[sim]", "[reward_classifier]\nmodel = 3\n[sim]", ["model = 3", "a string"]),
        ("shape = [3]\nunit", "shape = [2]\nunit", ["contract.observation[0]", "shape"]),
        ("policy_rate_hz = 10.0", "policy_rate_hz = 1e4", ["contract", "policy_rate_hz"]),
        ("max_steps = 50", "max_steps = ", ["not valid TOML", "line"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in TASK
    path = write(tmp_path, TASK.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_file_without_a_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contract is missing"):
        load_task(write(tmp_path, 'name = "reach"\n'))


def test_a_table_given_as_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sim = 3: must be a table"):
        load_task(write(tmp_path, "sim = 3\n"))


def test_tasks_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pick_cube"):
        find_task("pick_cub")
    with pytest.raises(ConfigError, match="does not exist"):
        find_task(tmp_path / "none.toml")
