"""Key folders: made once, private, checked when read."""

import stat
from pathlib import Path

import pytest

from serl_rt.export import keys as k


def test_each_machine_gets_its_own_pair_and_those_it_trusts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert k.main([str(tmp_path / "keys")]) == 0
    assert "Copy each folder to its machine" in capsys.readouterr().out
    machines = {role: k.load_keys(tmp_path / "keys" / role) for role in k.ROLES}
    assert len({keys.secret for keys in machines.values()}) == len(k.ROLES)
    for role, trusted in k.ROLES.items():
        assert machines[role].trusted == {name: machines[name].public for name in trusted}
        assert machines[role].callback("", machines[trusted[0]].public)
        assert not machines[role].callback("", machines[role].public)
    assert machines["learner"].secret.decode() not in repr(machines["learner"])


def test_secrets_are_private(tmp_path: Path) -> None:
    k.make_keys(tmp_path / "keys")
    for path in (tmp_path / "keys").rglob("*.key_secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    own = tmp_path / "keys/learner" / k.OWN
    own.chmod(0o640)
    with pytest.raises(k.KeysError, match="chmod 600"):
        k.load_keys(tmp_path / "keys/learner")


def test_old_keys_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    k.make_keys(tmp_path / "keys")
    before = k.load_keys(tmp_path / "keys/learner")
    assert k.main([str(tmp_path / "keys")]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert k.load_keys(tmp_path / "keys/learner") == before


def test_broken_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(k.KeysError, match="cannot read the key file"):
        k.load_keys(tmp_path)
    k.make_keys(tmp_path / "keys")
    learner = tmp_path / "keys/learner"
    (learner / "trusted/controller.key").write_text('public-key = "short"\n')
    with pytest.raises(k.KeysError, match="has no line: public-key"):
        k.load_keys(learner)
    (learner / "trusted/controller.key").unlink()
    with pytest.raises(k.KeysError, match="nobody could connect"):
        k.load_keys(learner)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("tcp://127.0.0.1:5588", True),
        ("tcp://127.0.0.1:*", True),
        ("tcp://localhost:5588", True),
        ("tcp://[::1]:5588", True),
        ("ipc:///tmp/serl", True),
        ("tcp://*:5588", False),
        ("tcp://0.0.0.0:5588", False),
        ("tcp://eth0:5588", False),
        ("tcp://192.168.1.2:5588", False),
        ("tcp://127.0.0.1.example.org:5588", False),
        ("tcp://localhost.example.org:5588", False),
        ("", False),
    ],
)
def test_local_addresses(address: str, local: bool) -> None:
    assert k.is_local(address) == local
