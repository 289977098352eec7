"""A lockstep controller in Python, over the real wire, for the point mass of `point_mass`."""

import secrets
import threading

import numpy as np
import zmq
from point_mass import PointMass

from serl_rt.export.contract import Contract
from serl_rt.export.messages import (
    PROTOCOL,
    Ack,
    Heartbeat,
    Hello,
    HelloRequired,
    Policy,
    PolicyOffer,
    PolicyRequest,
    PolicyResult,
    Refused,
    Transitions,
    Welcome,
)
from serl_rt.export.verify import OnnxPolicy
from serl_rt.export.wire import decode_learner_message, encode

TASK = """
name = "point"

[contract]
policy_rate_hz = 10.0
workspace = { low = [-1.0, -1.0, -1.0], high = [1.0, 1.0, 1.0] }

[[contract.observation]]
name = "offset"
shape = [2]
unit = "m"
frame = "base"
low = [-2.0, -2.0]
high = [2.0, 2.0]

[[contract.observation]]
name = "speed"
shape = [2]
unit = "m/s"
frame = "base"
low = [-0.5, -0.5]
high = [0.5, 0.5]

[[contract.action]]
name = "tcp_delta"
shape = [3]
scale = [1.0, 1.0, 1.0]
"""


class WireController(threading.Thread):
    """Acts while it has credit and a policy; sends each transition until it is acknowledged."""

    def __init__(self, address: str, contract: Contract) -> None:
        super().__init__(daemon=True)
        self.contract = contract
        self.run_id = secrets.token_hex(16)
        self.environment = PointMass(seed=5)
        self.noise = np.random.default_rng(6)
        self.transitions: list[dict[str, np.ndarray]] = []
        self.acknowledged = 0
        self.credit = 0
        self.episode = 0
        self.policy: OnnxPolicy | None = None
        self.versions: list[int] = []
        self.refused: str | None = None
        self.quit = threading.Event()
        self._sent = 0
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(address)

    def run(self) -> None:
        self._hello()
        while not self.quit.is_set():
            while self._socket.poll(0 if self._can_act() else 100):
                self._handle(decode_learner_message(self._socket.recv_multipart()))
            if self._can_act():
                self._act()
            elif self._sent == self.acknowledged:
                self._send(Heartbeat(self.run_id))
        self._socket.close()
        self._context.term()

    def _can_act(self) -> bool:
        return self.policy is not None and len(self.transitions) < self.credit

    def _send(self, message: object) -> None:
        self._socket.send_multipart(encode(message))

    def _hello(self) -> None:
        contract_id = self.contract.contract_id
        hello = Hello(PROTOCOL, self.run_id, contract_id, "point", "lockstep", self.acknowledged)
        self._send(hello)

    def _handle(self, message: object) -> None:
        match message:
            case Welcome() | Ack():
                self.acknowledged, self.credit = message.next_seq, message.credit
                if isinstance(message, Welcome) or message.resend:
                    self._sent = message.next_seq
                    self._send_new()
            case PolicyOffer():
                self._send(PolicyRequest(message.version))
            case Policy():
                self.policy = OnnxPolicy(bytes(message.data), self.contract)
                self.versions.append(message.version)
                self._send(PolicyResult(message.version, True, "", 1.0))
            case HelloRequired():
                self._hello()
            case Refused():
                self.refused = message.reason

    def _act(self) -> None:
        assert self.policy is not None
        before = self.environment.state()
        evaluation = self.episode % 3 == 2
        noise = self.noise.standard_normal((1, 3)).astype(np.float32) * (not evaluation)
        action = self.policy.act({"offset": before[None, :2], "speed": before[None, 2:]}, noise)
        after, reward, truncated, success = self.environment.step(action[0, :2])
        self.transitions.append(
            {
                "observation/offset": before[None, :2],
                "observation/speed": before[None, 2:],
                "next_observation/offset": after[None, :2],
                "next_observation/speed": after[None, 2:],
                "action": action.clip(-1, 1),
                "reward": np.array([reward], "<f4"),
                "terminated": np.array([0], "u1"),
                "truncated": np.array([truncated], "u1"),
                "success": np.array([success], "u1"),
                "intervention": np.array([0], "u1"),
                "grasp_penalty": np.array([0], "<f4"),
                "evaluation": np.array([evaluation], "u1"),
                "episode": np.array([self.episode], "<u4"),
                "step": np.array([self.environment.steps - 1], "<u4"),
                "policy_version": np.array([self.versions[-1]], "<u8"),
                "time_ns": np.array([0], "<i8"),
            }
        )
        if truncated:
            self.environment.reset()
            self.episode += 1
        self._send_new()

    def _send_new(self) -> None:
        for seq in range(self._sent, len(self.transitions)):
            columns = {k: np.ascontiguousarray(v) for k, v in self.transitions[seq].items()}
            self._send(Transitions(self.run_id, seq, columns))
        self._sent = len(self.transitions)
