"""One frame, the same in the environment, in the replay, in torch and in the exported graph."""

from collections.abc import Callable
from pathlib import Path

import make_frame
import numpy as np
import pytest
import torch

from serl_rt.export.columns import DTYPES
from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import demonstration_columns
from serl_rt.export.normalise import Normaliser
from serl_rt.export.verify import OnnxPolicy
from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.transitions import STATE, TransitionDecoder, observation_spec

FOLDER = Path(__file__).parents[1] / "golden/frame"
DRAWN_ALIKE = 2.0
"""Mean difference of two drivers' drawings of one scene [of 255]; another order gives far more."""


CONTRACT = Contract.from_json((FOLDER / "contract.txt").read_text())
FRAME: dict[str, np.ndarray] = make_frame.frame(CONTRACT)
STATES, ACTION = (np.array(line.split(), np.float32) for line in (FOLDER / "expected.txt").open())


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_the_environment_draws_it(tmp_path: Path) -> None:
    observation = make_frame.draw(tmp_path)
    for name, golden in FRAME.items():
        drawn = observation[name]
        assert (drawn.shape, drawn.dtype) == (golden.shape, np.uint8)
        assert difference(drawn, golden) < DRAWN_ALIKE
        assert difference(drawn, golden[..., ::-1]) > 5 * DRAWN_ALIKE  # blue first
    # Upside down; the wrist sees little else than the table.
    assert difference(observation["front"], FRAME["front"][::-1]) > 5 * DRAWN_ALIKE


def test_the_replay_keeps_it() -> None:
    columns = {}
    for column in demonstration_columns(CONTRACT):
        columns[column.name] = np.zeros((1, *column.shape), DTYPES[column.dtype])
    columns["starts"][0] = 1
    for name, golden in FRAME.items():
        columns[f"observation/{name}"][0] = golden
    replay = ImageReplay(4, observation_spec(CONTRACT), CONTRACT.action_dim)
    replay.insert(TransitionDecoder(CONTRACT)(columns, "run"))
    batch = replay.take(torch.zeros(1, dtype=torch.int64))
    assert isinstance(batch.observations, dict)
    for name, golden in FRAME.items():
        np.testing.assert_array_equal(batch.observations[name][0].numpy(), golden)


def test_torch_acts_on_it() -> None:
    agent = make_frame.make_agent(CONTRACT)
    state = torch.from_numpy(Normaliser.of(CONTRACT)(STATES[None]))
    images = {name: torch.from_numpy(golden)[None] for name, golden in FRAME.items()}
    action = agent.sample_actions({STATE: state, **images}, argmax=True)
    np.testing.assert_allclose(action[0].numpy(), ACTION, atol=1e-4)
    swapped = {name: image.flip(-1) for name, image in images.items()}
    other = agent.sample_actions({STATE: state, **swapped}, argmax=True)
    assert np.abs(other[0].numpy() - ACTION).max() > 1e-3


def test_the_exported_graph_acts_on_it() -> None:
    policy = OnnxPolicy((FOLDER / "policy.onnx").read_bytes(), CONTRACT)
    sizes = np.cumsum([field.size for field in CONTRACT.observation])
    values = np.split(STATES, sizes[:-1])
    fields = {
        f.name: v.reshape(1, *f.shape) for f, v in zip(CONTRACT.observation, values, strict=True)
    }
    images = {name: golden[None] for name, golden in FRAME.items()}
    action = policy.act(fields | images, np.zeros((1, CONTRACT.action_dim), np.float32))
    np.testing.assert_allclose(action[0], ACTION, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda image: image[:, :, :-1],
        lambda image: image.astype(np.float32),
        lambda image: image.transpose(0, 3, 1, 2),
    ],
    ids=["shape", "dtype", "channels first"],
)
def test_a_wrong_image_is_refused_by_name_by_the_replay(
    wrong: Callable[[np.ndarray], np.ndarray],
) -> None:
    columns = {}
    for column in demonstration_columns(CONTRACT):
        columns[column.name] = np.zeros((1, *column.shape), DTYPES[column.dtype])
    columns["starts"][0] = 1
    columns["next_observation/wrist"] = wrong(columns["next_observation/wrist"])
    with pytest.raises(ValueError, match="column next_observation/wrist"):
        TransitionDecoder(CONTRACT)(columns, "run")
