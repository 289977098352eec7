"""Writes the policy files on which both languages test what they accept and refuse.

    python -m tests.golden.make_policies [FOLDER]

The models are written node by node, so the bytes are the same on every machine.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.slow_loop import loop_body
from serl_rt.export.contract import Contract
from serl_rt.export.reward_classifier import KIND, image_text

FOLDER = Path(__file__).parent / "policies"
OPSET = 20
IR_VERSION = 10

CONTRACT = Contract.from_json(
    """{"name": "golden", "policy_rate_hz": 100,
    "workspace": {"low": [0.3, -0.25, 0.012], "high": [0.7, 0.25, 0.5]},
    "observation": [
      {"name": "tcp_position", "shape": [3], "unit": "m", "frame": "base",
       "low": [0.3, -0.25, 0], "high": [0.7, 0.25, 0.5]},
      {"name": "gripper", "shape": [1], "unit": "1", "frame": "", "low": [0], "high": [1]},
      {"name": "goal_position", "shape": [3], "unit": "m", "frame": "base",
       "low": [0.3, -0.25, 0], "high": [0.7, 0.25, 0.5]}],
    "action": [
      {"name": "tcp_delta", "shape": [3], "scale": [0.05, 0.05, 0.05]},
      {"name": "gripper", "kind": "binary", "threshold": 0.1}]}"""
)
OTHER_CONTRACT = Contract.from_json(
    CONTRACT.canonical_json().replace('"policy_rate_hz":100', '"policy_rate_hz":50')
)
# Every kind of field and of number that a contract can hold.
EVERYTHING = Contract.from_json(
    """{"name": "everything_0", "policy_rate_hz": 33.3333333333,
    "workspace": {"low": [-0.1, -1e-7, -10], "high": [0.1234567891, 1, 10.0]},
    "observation": [
      {"name": "q", "shape": [7], "unit": "rad", "frame": "",
       "low": [-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159],
       "high": [2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159]},
      {"name": "tcp_vel", "shape": [6], "unit": "m/s,rad/s", "frame": "tool",
       "low": [-1, -1, -1, -1, -1, -1], "high": [1, 1, 1, 1, 1, 1]},
      {"name": "height_map", "shape": [2, 2], "unit": "m", "frame": "",
       "low": [-0.0, 0, 123456789.5, 1e-300], "high": [1e-5, 0.00012345678949, 1e20, 1e29]}],
    "images": [{"name": "wrist", "height": 128, "width": 160}],
    "action": [
      {"name": "gripper", "kind": "continuous_delta", "scale": 0.25},
      {"name": "tcp_delta", "shape": [6], "scale": [0.05, 0.05, 0.05, 0.2, 0.2, 0.2],
       "frame": "tool", "anchor": "target"}]}"""
)
SEEING = Contract.from_json(
    """{"name": "seeing", "policy_rate_hz": 100,
    "workspace": {"low": [0.3, -0.25, 0.012], "high": [0.7, 0.25, 0.5]},
    "observation": [
      {"name": "gripper", "shape": [1], "unit": "1", "frame": "", "low": [0], "high": [1]}],
    "images": [
      {"name": "front", "height": 4, "width": 6}, {"name": "wrist", "height": 4, "width": 6}],
    "action": [{"name": "tcp_delta", "shape": [3], "scale": [0.05, 0.05, 0.05]}]}"""
)

Shapes = Mapping[str, tuple[int, ...]]


def input_shapes(contract: Contract) -> dict[str, tuple[int, ...]]:
    """Return each input's shape with the batch dimension."""
    shapes: dict[str, tuple[int, ...]] = {f.name: (1, *f.shape) for f in contract.observation}
    shapes |= {image.name: (1, image.height, image.width, 3) for image in contract.images}
    return shapes | {"noise": (1, contract.action_dim)}


def make_model(
    shapes: Shapes,
    *,
    version: int,
    contract: Contract = CONTRACT,
    dtype: int = TensorProto.FLOAT,
    image_dtype: int = TensorProto.UINT8,
    gain: float = 0.3,
    squash: tuple[str, ...] = ("Tanh",),
    copies: int = 1,
    loop: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return action = squash(observation @ weight + 0.5 noise), with the contract's metadata.

    Images are flattened and on 0..1 in the observation.
    `copies`: how often the action is in the output. `loop`: trips through a loop, to be slow.
    """
    names = [name for name in shapes if name != "noise"]
    size = sum(int(np.prod(shapes[name])) for name in names)
    actions = contract.action_dim
    generator = np.random.default_rng(version)
    weight = gain * generator.standard_normal((size, actions))
    real = helper.tensor_dtype_to_np_dtype(dtype)
    constants = {"weight": weight.astype(real), "half": np.asarray(0.5, real)}
    images = [name for name in names if len(shapes[name]) == 4]
    nodes = []
    for name in images:
        constants["scale"] = np.asarray(1 / 255, real)
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_cast"], to=dtype),
            helper.make_node("Mul", [f"{name}_cast", "scale"], [f"{name}_scaled"]),
            helper.make_node("Flatten", [f"{name}_scaled"], [f"{name}_flat"], axis=1),
        ]
    parts = [f"{name}_flat" if name in images else name for name in names]
    nodes += [
        helper.make_node("Concat", parts, ["observation"], axis=1),
        helper.make_node("MatMul", ["observation", "weight"], ["mean"]),
        helper.make_node("Mul", ["noise", "half"], ["exploration"]),
        helper.make_node("Add", ["mean", "exploration"], ["x0"]),
    ]
    for i, operator in enumerate(squash):
        nodes.append(helper.make_node(operator, [f"x{i}"], [f"x{i + 1}"]))
    last = f"x{len(squash)}"
    if loop:
        constants |= {"trips": np.asarray(loop, np.int64), "yes": np.asarray(True)}
        body = loop_body(actions, dtype)
        nodes.append(helper.make_node("Loop", ["trips", "yes", last], ["looped"], body=body))
        last = "looped"
    nodes.append(helper.make_node("Concat", [last] * copies, ["action"], axis=1))
    graph = helper.make_graph(
        nodes,
        "policy",
        [
            helper.make_tensor_value_info(name, image_dtype if name in images else dtype, shape)
            for name, shape in shapes.items()
        ],
        [helper.make_tensor_value_info("action", dtype, [1, copies * actions])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    if metadata is None:
        metadata = {
            "contract": contract.canonical_json(),
            "contract_id": contract.contract_id,
            "version": str(version),
            "training_step": str(100 * version),
            "recipe": "golden",
        }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def make_classifier(
    *,
    height: int = 4,
    output: str = "success_probability",
    highest: float = 1.0,
    trips: Sequence[int] = (),
    metadata: Mapping[str, str],
) -> bytes:
    """Return success_probability = highest * p / 255, where p is the image front's first byte.

    Of 253 it is NaN and of 254 it is 1.5, which no trial image shows; of 255 the run fails.
    `trips`: through a loop that takes time and changes nothing, for every p; empty: no loop.
    """
    table = (highest * np.arange(255) / 255).astype(np.float32)
    table[253:] = np.nan, 1.5
    constants = {
        "table": table,
        "flat": np.array([-1]),
        "start": np.array([0]),
        "end": np.array([1]),
    }
    nodes = [
        helper.make_node("Reshape", ["front", "flat"], ["bytes"]),
        helper.make_node("Cast", ["bytes"], ["numbers"], to=TensorProto.INT64),
        helper.make_node("Slice", ["numbers", "start", "end"], ["first"]),
        helper.make_node("Gather", ["table", "first"], ["found" if trips else output]),
    ]
    if trips:
        constants |= {
            "trips": np.asarray(trips, np.int64),
            "yes": np.asarray(True),
            "one": np.ones((1, 1), np.float32),
            "zero": np.zeros(1, np.float32),
        }
        nodes += [
            helper.make_node("Gather", ["trips", "first"], ["count"]),
            helper.make_node("Loop", ["count", "yes", "one"], ["looped"], body=loop_body(1)),
            helper.make_node("Reshape", ["looped", "flat"], ["scratch"]),
            helper.make_node("Mul", ["scratch", "zero"], ["nothing"]),
            helper.make_node("Add", ["found", "nothing"], [output]),
        ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("front", TensorProto.UINT8, [1, height, 6, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def classifiers() -> dict[str, Callable[[], bytes]]:
    """Return the reward classifiers of the contract `seeing`: file name -> its bytes."""
    right = {"kind": KIND, "images": image_text(SEEING.images[:1]), "threshold": "0.5"}
    return {
        "classifier_right": lambda: make_classifier(metadata=right),
        "classifier_no_kind": lambda: make_classifier(metadata={}),
        "classifier_wrong_shape": lambda: make_classifier(height=5, metadata=right),
        "classifier_other_images": lambda: make_classifier(
            metadata=right | {"images": "front 8 x 8"}
        ),
        "classifier_wrong_output": lambda: make_classifier(output="success", metadata=right),
        "classifier_bad_threshold": lambda: make_classifier(metadata=right | {"threshold": "1"}),
        "classifier_no_probability": lambda: make_classifier(highest=2.0, metadata=right),
        "classifier_slow": lambda: make_classifier(trips=[5_000] * 256, metadata=right),
        "classifier_endless": lambda: make_classifier(trips=[2**40] * 256, metadata=right),
        # Fast on every trial image.
        "classifier_slow_at_100": lambda: make_classifier(
            trips=[0] * 100 + [50_000] + [0] * 155, metadata=right
        ),
    }


def policies() -> dict[str, Callable[[], bytes]]:
    """Return what to write: file name -> its bytes."""
    shapes = input_shapes(CONTRACT)
    sees = input_shapes(SEEING)
    without_gripper = {name: shape for name, shape in shapes.items() if name != "gripper"}
    return {
        "version_1": lambda: make_model(shapes, version=1),
        "version_2": lambda: make_model(shapes, version=2),
        "version_3": lambda: make_model(shapes, version=3),
        "other_contract": lambda: make_model(
            input_shapes(OTHER_CONTRACT), version=9, contract=OTHER_CONTRACT
        ),
        "no_metadata": lambda: make_model(shapes, version=9, metadata={}),
        "wrong_shape": lambda: make_model(shapes | {"tcp_position": (1, 4)}, version=9),
        "wrong_output": lambda: make_model(shapes, version=9, copies=2),
        "wrong_dtype": lambda: make_model(shapes, version=9, dtype=TensorProto.DOUBLE),
        "missing_input": lambda: make_model(without_gripper, version=9),
        "extra_input": lambda: make_model({"secret": (1, 2)} | shapes, version=9),
        "not_a_number": lambda: make_model(
            shapes, version=9, squash=("Abs", "Neg", "Sqrt", "Tanh")
        ),
        "out_of_range": lambda: make_model(shapes, version=9, gain=30.0, squash=()),
        "image_right": lambda: make_model(sees, version=9, contract=SEEING),
        "image_wrong_shape": lambda: make_model(
            sees | {"wrist": (1, 4, 5, 3)}, version=9, contract=SEEING
        ),
        "image_wrong_dtype": lambda: make_model(
            sees, version=9, contract=SEEING, image_dtype=TensorProto.FLOAT
        ),
        "image_channels_first": lambda: make_model(
            sees | {"front": (1, 3, 4, 6)}, version=9, contract=SEEING
        ),
        "image_grey": lambda: make_model(
            sees | {"front": (1, 4, 6, 1)}, version=9, contract=SEEING
        ),
        "image_missing": lambda: make_model(
            {name: shape for name, shape in sees.items() if name != "wrist"},
            version=9,
            contract=SEEING,
        ),
        "slow": lambda: make_model(shapes, version=9, loop=100_000),
        "endless": lambda: make_model(shapes, version=9, loop=2**40),
    }


def expected_rows(model: bytes, count: int = 32) -> NDArray[np.float32]:
    """Run a good model on random inputs: rows of observation, noise and action."""
    from serl_rt.export.normalise import concatenate
    from serl_rt.export.verify import OnnxPolicy, make_probes

    policy = OnnxPolicy(model, CONTRACT)
    probes = make_probes(CONTRACT, count, seed=7)
    actions = [policy.act(*probes.row(i)) for i in range(count)]
    observation = concatenate(CONTRACT, probes.observation)
    return np.concatenate([observation, probes.noise, np.concatenate(actions)], axis=1)


def main(folder: Path) -> None:
    """Write every file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (policies() | classifiers()).items():
        (folder / f"{name}.onnx").write_bytes(make())
    np.savetxt(
        folder / "version_1_expected.txt", expected_rows(policies()["version_1"]()), fmt="%.9g"
    )
    contracts = {"golden": CONTRACT, "everything": EVERYTHING, "seeing": SEEING}
    for name, contract in contracts.items():
        text = f"{contract.canonical_json()}\n{contract.contract_id}\n"
        (folder / f"contract_{name}.txt").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
