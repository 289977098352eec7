"""Policies are accepted or refused for the right reason; C++ is tested on the same files."""

from pathlib import Path

import make_policies
import numpy as np
import pytest
from make_policies import CONTRACT

from serl_rt.export.contract import Contract
from serl_rt.export.normalise import Normaliser, concatenate
from serl_rt.export.publish import (
    PolicyFile,
    count_parameters,
    describe_policy,
    read_policy_file,
    write_policy_file,
)
from serl_rt.export.verify import OnnxPolicy, PolicyRefused, make_probes, verify_policy

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


PROBES = make_probes(CONTRACT, 6)


def golden(name: str) -> bytes:
    return (GOLDEN / "policies" / f"{name}.onnx").read_bytes()


FILES = make_policies.policies() | make_policies.classifiers()


@pytest.mark.parametrize("name", FILES)
def test_golden_files_are_what_the_script_writes(name: str) -> None:
    assert FILES[name]() == golden(name)


def test_golden_actions_are_what_onnx_runtime_computes() -> None:
    rows = np.loadtxt(GOLDEN / "policies" / "version_1_expected.txt", dtype=np.float32)
    np.testing.assert_allclose(make_policies.expected_rows(golden("version_1")), rows, atol=1e-6)


@pytest.mark.parametrize("name", ["golden", "everything", "seeing"])
def test_golden_contracts_are_what_the_script_writes(name: str) -> None:
    text, contract_id = (GOLDEN / "policies" / f"contract_{name}.txt").read_text().split()
    contract = Contract.from_json(text)
    assert contract.canonical_json() == text
    assert contract.contract_id == contract_id
    made = {
        "golden": make_policies.CONTRACT,
        "everything": make_policies.EVERYTHING,
        "seeing": make_policies.SEEING,
    }
    assert contract == made[name]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("wrong_shape", "wrist"),
        ("wrong_dtype", "front"),
        ("channels_first", "front"),
        ("grey", "front"),
        ("missing", "wrist"),
    ],
)
def test_policies_that_see_other_images_are_refused_by_name(name: str, image: str) -> None:
    OnnxPolicy(golden("image_right"), make_policies.SEEING)
    with pytest.raises(PolicyRefused, match=f"input {image} "):
        OnnxPolicy(golden(f"image_{name}"), make_policies.SEEING)


def test_good_policies_are_accepted_and_act() -> None:
    policy = verify_policy(golden("version_2"), CONTRACT, PROBES)
    assert policy.metadata["version"] == "2"
    action = policy.act(*PROBES.row(1))
    assert action.shape == (1, 4)
    assert np.abs(action).max() <= 1.0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other_contract", "same task file"),
        ("no_metadata", "no contract"),
        ("wrong_shape", "tcp_position"),
        ("wrong_output", "action"),
        ("wrong_dtype", "float"),
        ("missing_input", "gripper is missing"),
        ("extra_input", "secret"),
        ("not_a_number", "not finite"),
        ("out_of_range", "beyond"),
    ],
)
def test_wrong_policies_are_refused(name: str, reason: str) -> None:
    with pytest.raises(PolicyRefused, match=reason):
        verify_policy(golden(name), CONTRACT, PROBES)


def test_damaged_bytes_are_refused() -> None:
    model = golden("version_1")
    for damaged in (b"", model[: len(model) // 2], b"\0" * 100):
        with pytest.raises(PolicyRefused, match="not a usable ONNX model"):
            OnnxPolicy(damaged, CONTRACT)


def test_another_action_than_expected_is_refused() -> None:
    policy = OnnxPolicy(golden("version_1"), CONTRACT)
    actions = np.concatenate([policy.act(*PROBES.row(i)) for i in range(len(PROBES))])
    verify_policy(golden("version_1"), CONTRACT, PROBES, actions)
    with pytest.raises(PolicyRefused, match="differs"):
        verify_policy(golden("version_2"), CONTRACT, PROBES, actions)
    actions[3, 2] = np.nan
    with pytest.raises(PolicyRefused, match="differs"):
        verify_policy(golden("version_1"), CONTRACT, PROBES, actions)


def test_probes_cover_the_range_and_both_kinds_of_noise() -> None:
    probes = make_probes(CONTRACT, 100)
    flat = concatenate(CONTRACT, probes.observation)
    low = np.concatenate([field.low for field in CONTRACT.observation]).astype(np.float32)
    high = np.concatenate([field.high for field in CONTRACT.observation]).astype(np.float32)
    assert (flat >= low - 1e-6).all()
    assert (flat <= high + 1e-6).all()
    np.testing.assert_allclose(flat.min(axis=0), low, atol=1e-6)
    np.testing.assert_allclose(flat.max(axis=0), high, atol=1e-6)
    assert not probes.noise[::2].any()
    assert probes.noise[1::2].all()
    again = make_probes(CONTRACT, 100)
    np.testing.assert_array_equal(again.noise, probes.noise)


def test_normalised_ranges_end_at_one() -> None:
    normaliser = Normaliser.of(CONTRACT)
    probes = make_probes(CONTRACT, 3)  # middle, low ends, high ends
    scaled = normaliser(concatenate(CONTRACT, probes.observation))
    np.testing.assert_allclose(scaled, np.repeat([[0.0], [-1.0], [1.0]], 7, axis=1), atol=1e-5)


def policy_file(name: str, version: int) -> PolicyFile:
    return PolicyFile(golden(name), "", version, 100 * version, CONTRACT.contract_id, "golden")


def test_policy_files_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "policies" / "newest.onnx"
    write_policy_file(policy_file("version_1", 1), path)
    write_policy_file(policy_file("version_2", 2), path)
    policy = read_policy_file(path, CONTRACT)
    assert policy.model == golden("version_2")
    assert (policy.version, policy.training_step, policy.recipe) == (2, 200, "golden")
    assert policy.contract_id == CONTRACT.contract_id
    assert [file.name for file in path.parent.iterdir()] == ["newest.onnx"]


def test_unusable_policy_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    with pytest.raises(PolicyRefused, match=r"policy\.onnx: cannot be read"):
        read_policy_file(path)
    path.write_bytes(golden("version_1")[:500])
    with pytest.raises(PolicyRefused, match=r"policy\.onnx: not a usable"):
        read_policy_file(path)
    path.write_bytes(golden("no_metadata"))
    with pytest.raises(PolicyRefused, match=r"policy\.onnx: its contract"):
        read_policy_file(path)
    path.write_bytes(golden("other_contract"))
    with pytest.raises(PolicyRefused, match="made for contract"):
        read_policy_file(path, CONTRACT)


def test_description_says_what_a_person_asks(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(golden("version_3"))
    text = describe_policy(path)
    for part in ("golden", "version        3", CONTRACT.contract_id, "tcp_position", "(1, 3)"):
        assert part in text
    assert count_parameters(golden("version_3")) == 7 * 4 + 1
