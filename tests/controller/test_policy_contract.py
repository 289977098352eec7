"""C++ and Python agree on a contract's text and id to the byte."""

import json
import subprocess

import numpy as np
import pytest
from cpp_program import program

from serl_rt.export.contract import Contract
from serl_rt.export.task import bundled_tasks, load_task


def in_cpp(texts: list[str]) -> list[tuple[str, str]]:
    """Return canonical text and id that C++ gives each contract."""
    result = subprocess.run(
        [program("print_contract")],
        input="\n".join(texts) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.splitlines()
    return list(zip(lines[::2], lines[1::2], strict=True))


def test_every_bundled_task_has_one_id() -> None:
    contracts = [load_task(name).contract for name in bundled_tasks()]
    printed = in_cpp([contract.canonical_json() for contract in contracts])
    assert printed == [(c.canonical_json(), c.contract_id) for c in contracts]


def random_contract(generator: np.random.Generator) -> Contract:
    """Make a contract whose numbers have many digits and all magnitudes."""

    def numbers(count: int) -> list[float]:
        exponents = generator.integers(-12, 15, count)
        values: list[float] = (generator.standard_normal(count) * 10.0**exponents).tolist()
        return values

    size = int(generator.integers(1, 8))
    low = numbers(size)
    high = [value + abs(value) + 1e-6 for value in low]
    table = {
        "name": "random",
        "policy_rate_hz": float(generator.uniform(1, 1000)),
        "workspace": {"low": [-1, -1, -1], "high": [1, 1, 1]},
        "observation": [
            {"name": "x", "shape": [size], "unit": "1", "frame": "", "low": low, "high": high}
        ],
        "action": [
            {"name": "joint_delta", "scale": generator.uniform(0, 10, 7).tolist()},
            {"name": "gripper", "kind": "binary", "threshold": float(generator.uniform(0, 0.9))},
        ],
    }
    return Contract.from_json(json.dumps(table))


def test_random_contracts_have_one_id() -> None:
    generator = np.random.default_rng(0)
    contracts = [random_contract(generator) for _ in range(300)]
    printed = in_cpp([contract.canonical_json() for contract in contracts])
    assert printed == [(c.canonical_json(), c.contract_id) for c in contracts]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("policy_rate_hz", "policy_rate"),
        ('"policy_rate_hz":', '"policy_rate_hz":-'),
        ('"unit":"m"', '"unit":"mm"'),
        ('"frame":"base","high"', '"frame":"tool","high"'),
        ('"kind":"binary"', '"kind":"ternary"'),
        ('"shape":[3]', '"shape":[5]'),
        ('"dtype":"float32"', '"dtype":"int8"'),
        ('"name":"gripper"', '"name":"noise"'),
    ],
)
def test_both_refuse_the_same(old: str, new: str) -> None:
    text = load_task("pick_cube").contract.canonical_json()
    assert old in text
    wrong = text.replace(old, new, 1)
    with pytest.raises(ValueError, match="contract"):
        Contract.from_json(wrong)
    assert in_cpp([wrong])[0][0] == "refused"
