"""The learner's server, seen from a controller: policies are offered, fetched, judged."""

import hashlib
import os
import socket
import stat

import pytest
from server_client import Controller, PolicyFile

from serl_rt.export import messages as m
from serl_rt.export.wire_header import WireError
from serl_rt.learner.receive import LearnerServer


def test_a_policy_is_offered_fetched_and_judged(
    server: LearnerServer, controller: Controller
) -> None:
    policy = PolicyFile(3, b"onnx" * 1000)
    controller.hello()
    server.publish(policy)
    offer = controller.receive(m.PolicyOffer)
    assert (offer.version, offer.size, offer.sha256) == (3, 4000, policy.sha256)
    controller.send(m.PolicyRequest(3))
    assert bytes(controller.receive(m.Policy).data) == policy.model
    controller.send(m.PolicyResult(3, False, "too slow", 0.0))
    controller.send(m.PolicyResult(3, True, "", 12.5))
    controller.ack()
    refused, accepted = server.policy_verdicts()
    assert (refused.run_id, refused.reason) == (controller.run_id, "too slow")
    assert (accepted.accepted, accepted.swap_ms) == (True, 12.5)
    assert server.policy_verdicts() == []
    assert (server.stats.policies_accepted, server.stats.policies_refused) == (1, 1)


def test_who_holds_the_trunk_of_a_policy_gets_what_follows_it(
    server: LearnerServer, controller: Controller
) -> None:
    policy = PolicyFile(3, b"trunk" * 100 + b"head", trunk_size=500)
    trunk = hashlib.sha256(b"trunk" * 100).hexdigest()
    controller.hello()
    server.publish(policy)
    controller.receive(m.PolicyOffer)
    for held, expected in (("", policy.model), ("0" * 64, policy.model), (trunk, b"head")):
        controller.send(m.PolicyRequest(3, held))
        sent = controller.receive(m.Policy)
        assert bytes(sent.data) == expected
        assert (sent.size, sent.sha256) == (504, policy.sha256)
        assert (sent.trunk_size, sent.trunk_sha256) == (500, trunk)
    server.publish(PolicyFile(4, b"small"))  # without one
    controller.receive(m.PolicyOffer)
    controller.send(m.PolicyRequest(4, trunk))
    sent = controller.receive(m.Policy)
    assert bytes(sent.data) == b"small"
    assert (sent.trunk_size, sent.trunk_sha256) == (0, "")


def test_a_late_joiner_gets_the_newest_policy(server: LearnerServer) -> None:
    for version in (1, 2, 3):
        server.publish(PolicyFile(version, b"onnx%d" % version))
    with Controller(server.address) as controller:
        controller.hello()
        assert controller.receive(m.PolicyOffer).version == 3


def test_a_request_for_an_old_policy_is_answered_with_the_newest_offer(
    server: LearnerServer, controller: Controller
) -> None:
    controller.hello()
    server.publish(PolicyFile(1, b"one"))
    controller.receive(m.PolicyOffer)
    server.publish(PolicyFile(2, b"two"))
    assert controller.receive(m.PolicyOffer).version == 2
    controller.send(m.PolicyRequest(1))
    assert controller.receive(m.PolicyOffer).version == 2


def test_a_policy_that_cannot_be_sent_is_not_published(server: LearnerServer) -> None:
    with pytest.raises(WireError):
        server.publish(PolicyFile(1, b""))


def send_buffers(port: int) -> list[int]:
    """Return the send buffers [bytes] of the connections that this process has accepted there."""
    sizes = []
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptor = os.dup(int(name))
        except OSError:  # gone meanwhile
            continue
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            continue
        with socket.socket(fileno=descriptor) as connection:
            if connection.family != socket.AF_INET or connection.getsockname()[1] != port:
                continue
            if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                sizes.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
    return sizes


def test_the_kernel_takes_little_of_a_policy_at_once(
    server: LearnerServer, controller: Controller
) -> None:
    controller.hello()
    sizes = send_buffers(int(server.address.rsplit(":", 1)[1]))
    assert len(sizes) == 1
    assert sizes[0] == 2 * 128 * 1024  # the kernel doubles what it is asked for
