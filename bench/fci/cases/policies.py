"""Bad policies in the controller's own loop: what is refused, and what goes bad in motion.

A learner's end of the wire in this process publishes them; the strict robot has nothing to
complain about.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.fci.arm import Controller, Status
from bench.fci.bad_policies import make_policy
from bench.fci.case import Case, Context, Result
from bench.fci.servers import franka_sim
from serl_rt.export.columns import transition_columns
from serl_rt.export.task import load_task
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer

TASK = "fr3_reach"
LOOK_S = 0.02
REFUSED = {  # what is bad everywhere, and the words of the refusal
    "not_a_number": "must be finite",
    "out_of_range": "must be finite and in [-1, 1]",
    "stalls": "too slow",
}
GOES_BAD = {  # what is bad only where the arm gets to, and the faults that it must raise
    "not_a_number": ("policy_non_finite", "target_stale"),
    "out_of_range": ("policy_out_of_range", "target_stale"),
    "stalls": ("policy_late", "target_stale"),
}
WILD = ("random", "bang_bang")  # within the rules, everywhere


@contextmanager
def publisher(context: Context) -> Iterator[LearnerServer]:
    """A learner that trains nothing: it takes transitions and offers what it is told to."""
    contract = load_task(TASK).contract
    fields = [(f.name, tuple(f.shape)) for f in contract.observation]
    columns = transition_columns(fields, contract.action_dim)
    folder = context.folder / "transitions"
    with (
        TransitionLog(folder, contract.contract_id) as log,
        LearnerServer(log, columns, "tcp://127.0.0.1:*") as server,
    ):
        yield server


def policies_refused(context: Context) -> Result:
    """A policy that is bad everywhere is refused by name, and the one before goes on."""
    contract = load_task(TASK).contract
    measured: dict[str, Any] = {"refusals": {}}
    right = True
    robot = franka_sim(context.folder)
    with robot, publisher(context) as learner:
        learner.publish(make_policy(contract, 1))
        with Controller(context, robot.address, "--learner", learner.address, task=TASK) as arm:
            arm.wait_until_moving()
            for refused, (bad, words) in enumerate(REFUSED.items()):
                learner.publish(make_policy(contract, 2 + refused, bad, always=True))
                status = arm.wait_for(
                    lambda s, least=refused + 1: s["policies_refused"] >= least,  # type: ignore[misc]
                    f"the refusal of {bad}",
                )
                measured["refusals"][bad] = status["last_refusal"]
                right &= words in status["last_refusal"] and status["policy_version"] == 1
                before = status["steps"]
                arm.wait_for(lambda s, b=before: s["steps"] > b + 3, "the policy to go on")  # type: ignore[misc]
            good = 2 + len(REFUSED)
            learner.publish(make_policy(contract, good))
            arm.wait_for(lambda s: s["policy_version"] == good, "a good policy")
        measured["verdicts"] = [
            [verdict.version, verdict.accepted] for verdict in learner.policy_verdicts()
        ]
    return _judge(robot.violations(), robot.reflexes(), measured, right)


def goes_bad(bad: str, faults: tuple[str, ...]) -> Case:
    """Return the case of a policy that passes verification and goes bad where the arm gets to."""

    def case(context: Context) -> Result:
        contract = load_task(TASK).contract
        robot = franka_sim(context.folder)
        with robot, publisher(context) as learner:
            learner.publish(make_policy(contract, 1, bad))
            with Controller(context, robot.address, "--learner", learner.address, task=TASK) as arm:
                arm.wait_until_moving()
                held = _watch(arm, context.seconds)
                learner.publish(make_policy(contract, 2))  # and a good one cures it
                cured = arm.wait_for(lambda s: s["policy_version"] == 2, "the good policy")
                arm.wait_for(lambda s: s["steps"] > cured["steps"] + 20, "it to act")
                status = arm.status()
            measured = {
                "held": held,
                "faults": status["faults"],
                "steps": status["steps"],
                "episodes": status["episode"],
                "transitions": learner.stats.transitions,
            }
        right = held >= 1 and all(fault in status["faults"] for fault in faults)
        right &= status["policies_refused"] == 0 and status["robot"]["absences"] == 0
        return _judge(robot.violations(), robot.reflexes(), measured, right)

    case.__doc__ = f"A policy that {bad.replace('_', ' ')} where the arm gets to: the arm is held."
    return case


def wild(kind: str) -> Case:
    """Return the case of a policy that is within the rules and as wild as they allow."""

    def case(context: Context) -> Result:
        contract = load_task(TASK).contract
        robot = franka_sim(context.folder)
        with robot, publisher(context) as learner:
            learner.publish(make_policy(contract, 1, kind, always=True))
            with Controller(context, robot.address, "--learner", learner.address, task=TASK) as arm:
                arm.wait_until_moving()
                _watch(arm, context.seconds)
                status = arm.status()
            measured = {"faults": status["faults"], "transitions": learner.stats.transitions}
        return _judge(robot.violations(), robot.reflexes(), measured, status["steps"] > 0)

    case.__doc__ = f"A policy whose actions are {kind.replace('_', ' ')}, in the policy's own loop."
    return case


def _watch(arm: Controller, seconds: float) -> int:
    """Return how often the arm went from following the policy to a hold, in that time."""
    held, following = 0, False
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status: Status = arm.status()
        if following and status["mode"] == "hold":
            held += 1
        following = status["mode"] == "cartesian_impedance"
        time.sleep(LOOK_S)
    return held


def _judge(
    violations: list[str], reflexes: list[str], measured: dict[str, Any], right: bool
) -> Result:
    measured |= {"violations": violations, "reflexes": reflexes}
    return Result(right and not violations and not reflexes, measured)


CASES: dict[str, Case] = {
    "policies_refused": policies_refused,
    **{f"policy_{bad}": goes_bad(bad, faults) for bad, faults in GOES_BAD.items()},
    **{f"policy_{kind}": wild(kind) for kind in WILD},
}
