"""The controller on simulated robots that speak the arm's own network protocol.

Behaviour only; speeds and timing are `make fci`'s. So the robots here do not stop after 20 cycles
without a command: on a machine whose cores are shared, that tests the machine.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from bench.fci.arm import Controller
from bench.fci.bad_policies import BAD, MOVE, make_policy
from bench.fci.case import Context, Result, find_cases
from bench.fci.cases.connection import killed, server_restarted, torque_glitch
from bench.fci.servers import VENV, franka_sim, franky_sim, free_address
from serl_rt.controller._core import franka_failure, franka_mode
from serl_rt.export.task import load_task
from serl_rt.export.verify import make_probes, verify_policy

needs_servers = pytest.mark.skipif(
    not VENV.exists() or importlib.util.find_spec("pylibfranka") is None,
    reason="needs scripts/setup_fci.sh and pylibfranka",
)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path, seconds=5.0, driver="pylibfranka", timing=False)


@needs_servers
@pytest.mark.parametrize("case", [server_restarted, torque_glitch, killed])
def test_a_robot_that_is_lost_comes_back(case: object, context: Context) -> None:
    assert callable(case)
    result = case(context)
    assert isinstance(result, Result)
    measured = result.measured
    if case is killed:
        assert result.passed, measured
    else:
        assert "libfranka" in measured["cause"]
        assert measured["recordings"]
    if case is torque_glitch:
        assert measured["reflexes"] == ["controller_torque_discontinuity"]
        assert measured["recordings"][0].endswith("-controller_torque_discontinuity.mcap")


@needs_servers
def test_more_reflexes_than_allowed_wait_for_a_person(context: Context, tmp_path: Path) -> None:

    text = load_task("fr3_reach").path.read_text()
    task = tmp_path / "strict.toml"
    task.write_text(text.replace("max_reflexes = 5", "max_reflexes = 0"))
    options = ("--driver", "bench.fci.glitch_driver:GlitchDriver")
    with (
        franka_sim(context.folder, timing=context.timing) as robot,
        Controller(context, robot.address, *options, task=str(task)) as arm,
    ):
        status = arm.wait_for(lambda s: s["robot"]["needs_operator"], "the reflex", 60.0)
        assert not status["robot"]["present"]
        assert "recover" in status["robot"]["last_trouble"]
        arm.client.command("resume")
        arm.client.command("recover")
        arm.wait_for(lambda s: s["robot"]["present"], "control after the person's word")


@needs_servers
def test_the_other_server_is_driven_and_left_at_rest(context: Context) -> None:
    with franky_sim(context.folder) as robot, Controller(context, robot.address) as arm:
        arm.wait_until_moving()
    summary = arm.summary()
    assert summary["robot"]["absences"] == 0
    assert "driver_lost" not in summary["faults"]


@needs_servers
def test_an_unreachable_robot_is_a_sentence(context: Context) -> None:
    with Controller(context, free_address()) as arm:
        with pytest.raises(Exception, match="is it on and reachable"):
            arm.wait_for(lambda s: s["robot"]["present"], "nothing")
    assert "Traceback" not in arm.process.log.read_text()


@pytest.mark.parametrize(
    ("exception", "text", "absence"),
    [
        ("ControlException", 'aborted by reflex! ["joint_reflex"]', "reflex"),
        ("ControlException", "Move command aborted: User Stop pressed!", "operator"),
        ("ControlException", "command not possible in the current mode!", "operator"),
        ("NetworkException", "UDP receive: Timeout", "network"),
        ("ProtocolException", "incorrect object size", "network"),
        ("IncompatibleVersionException", "server version 5", "unusable"),
        ("CommandException", "Set Load command rejected", "operator"),
        ("ValueError", "not finite", "unusable"),
    ],
)
def test_failures_of_the_robot_say_who_may_end_them(
    exception: str, text: str, absence: str
) -> None:
    found, what = franka_failure(exception, text, "10.0.0.2")
    assert found == absence
    assert text in what


@pytest.mark.parametrize(
    ("mode", "absence"),
    [("Idle", "none"), ("Reflex", "reflex"), ("UserStopped", "operator"), ("Other", "operator")],
)
def test_modes_in_which_control_can_begin(mode: str, absence: str) -> None:
    found, what = franka_mode(mode)
    assert found == absence
    assert bool(what) == (absence != "none")


@pytest.mark.parametrize("bad", BAD)
def test_a_policy_that_goes_bad_passes_every_probe_and_does_so_where_it_should(bad: str) -> None:
    contract = load_task("fr3_reach").contract
    model = make_policy(contract, 1, bad).model
    policy = verify_policy(model, contract, make_probes(contract, 50))
    noise = np.array([[2.0, -0.5, 0.1]], np.float32)

    def act(away: float) -> list[float]:
        observation = {f.name: np.zeros((1, *f.shape), np.float32) for f in contract.observation}
        observation["tcp_to_goal"][0, 1] = away
        action: list[float] = policy.act(observation, noise)[0].tolist()
        return action

    assert act(0.1) == MOVE
    expected = {
        "not_a_number": [math.nan] * 3,
        "out_of_range": [5.0] * 3,
        "stalls": MOVE,  # late
        "random": [1.0, -0.5, 0.1],
        "bang_bang": [1.0, -1.0, 1.0],
    }
    np.testing.assert_allclose(act(0.2), expected[bad], rtol=1e-6)


def test_cases_are_found_and_say_what_must_hold() -> None:
    cases = find_cases()
    assert {"loop_quality", "server_restarted", "killed"} <= cases.keys()
    assert all(case.__doc__ for case in cases.values())
