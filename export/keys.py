"""`serl-rt keys`: the CURVE keys that let two machines talk, and their use on ZeroMQ sockets.

A machine's key folder holds its own pair, `own.key_secret`, and the public keys of the machines
that it trusts, `trusted/NAME.key`. With keys everything is encrypted and only the trusted may
connect; without, only addresses of this machine are allowed.
"""

import argparse
import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import zmq
from zmq.auth.thread import ThreadAuthenticator

OWN = "own.key_secret"
ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "learner": ("controller",),
        "controller": ("learner", "operator"),
        "operator": ("controller",),
    }
)
"""Each machine's role, and whom it trusts."""
_LOCAL = re.compile(r"(ipc|inproc)://.*|tcp://(127\.\d+\.\d+\.\d+|localhost|\[::1\]):[^:]+")


class KeysError(RuntimeError):
    """Keys are missing, malformed or unsafe; says what to do."""


@dataclass(frozen=True)
class Keys:
    """One machine's keys."""

    public: bytes
    """Z85, 40 characters."""
    secret: bytes = field(repr=False)
    trusted: Mapping[str, bytes]
    """Name -> public key."""

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell pyzmq's authenticator whether a client may connect."""
        return key in self.trusted.values()


def load_keys(folder: Path) -> Keys:
    """Read a machine's key folder. Raises KeysError."""
    own = folder / OWN
    public = _read_entry(own, "public-key")
    secret = _read_entry(own, "secret-key")
    if stat.S_IMODE(own.stat().st_mode) & 0o077:
        raise KeysError(f"the secret key {own} may be read by other users; run: chmod 600 {own}")
    trusted = {
        path.stem: _read_entry(path, "public-key")
        for path in sorted((folder / "trusted").glob("*.key"))
    }
    if not trusted:
        raise KeysError(
            f"there is no key in {folder / 'trusted'}: nobody could connect; "
            f"make keys with: serl-rt keys"
        )
    return Keys(public, secret, MappingProxyType(trusted))


def is_local(address: str) -> bool:
    """Whether only this machine can reach the address."""
    return _LOCAL.fullmatch(address) is not None


def check_address(address: str, keys: Keys | None) -> None:
    """Raise KeysError for an address that other machines can reach when there are no keys."""
    if keys is None and not is_local(address):
        raise KeysError(
            f"{address} can be reached from other machines, and there are no keys: make them with "
            f"'serl-rt keys', or use an address that starts with tcp://127.0.0.1:"
        )


def secure_client(socket: zmq.Socket[bytes], keys: Keys | None, server: str) -> None:
    """Prepare a socket to connect to the machine called `server`. Raises KeysError."""
    if keys is None:
        return
    if server not in keys.trusted:
        names = ", ".join(keys.trusted)
        raise KeysError(f"there is no trusted key named {server}; there are: {names}")
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    socket.curve_serverkey = keys.trusted[server]


class Gatekeeper:
    """Lets only trusted machines connect to the server sockets of one context."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: Keys | None) -> None:
        self._keys = keys
        self._authenticator: ThreadAuthenticator | None = None
        if keys is not None:
            self._authenticator = ThreadAuthenticator(context)
            self._authenticator.start()
            self._authenticator.configure_curve_callback("*", keys)

    def secure_server(self, socket: zmq.Socket[bytes]) -> None:
        """Prepare a socket to be bound."""
        if self._keys is not None:
            socket.curve_publickey = self._keys.public
            socket.curve_secretkey = self._keys.secret
            socket.curve_server = True

    def close(self) -> None:
        """Stop; the sockets must have been closed."""
        if self._authenticator is not None:
            self._authenticator.stop()

    def __enter__(self) -> "Gatekeeper":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_keys(folder: Path) -> None:
    """Write one key folder per role. Raises KeysError when there is something already."""
    if folder.exists() and any(folder.iterdir()):
        raise KeysError(f"{folder} is not empty; choose a new folder, or remove the old keys first")
    pairs = {role: zmq.curve_keypair() for role in ROLES}
    for role, trusted in ROLES.items():
        (folder / role / "trusted").mkdir(parents=True, mode=0o700)
        public, secret = pairs[role]
        _write(folder / role / OWN, f"{role}: secret, stays on this machine", public, secret)
        for name in trusted:
            _write(folder / role / "trusted" / f"{name}.key", f"{name}: public", pairs[name][0])


def _write(path: Path, comment: str, public: bytes, secret: bytes | None = None) -> None:
    lines = [f"# SERL-RT key of the {comment}", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as stream:
        stream.write("\n".join(lines) + "\n")


def _read_entry(path: Path, name: str) -> bytes:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise KeysError(f"cannot read the key file {path}; make keys with: serl-rt keys") from None
    match = re.search(rf'^\s*{name}\s*=\s*"([!-~]{{40}})"\s*$', text, re.MULTILINE)
    if match is None:
        raise KeysError(f'the key file {path} has no line: {name} = "<40 characters>"')
    return match.group(1).encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Run `serl-rt keys`."""
    parser = argparse.ArgumentParser(
        prog="serl-rt keys",
        description="Make the keys that let a learner, a controller and an operator on different "
        "machines talk to each other, and nobody else to them.",
    )
    parser.add_argument("folder", type=Path, help="a new folder; gets one folder per machine")
    folder: Path = parser.parse_args(argv).folder
    try:
        make_keys(folder)
    except (KeysError, OSError) as error:
        print(f"serl-rt keys: {error}", file=sys.stderr)
        return 1
    print(
        f"Wrote {', '.join(f'{folder / role}' for role in ROLES)}.\n"
        "Copy each folder to its machine over a connection you trust (scp -pr), delete it here,\n"
        "and start the programs with --keys FOLDER."
    )
    return 0
