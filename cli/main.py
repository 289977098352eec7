"""`serl-rt`: finds the subcommand and imports only what that one needs.

A robot PC has no torch and a learner box has no robot, so no subcommand's module is imported before
it is asked for, and a missing optional package is named together with the extra that brings it.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand: the module whose `main(argv) -> int` runs it."""

    module: str
    """Importable name."""
    extra: str
    """The optional dependency group that it needs."""
    summary: str
    """One line for the help text."""


COMMANDS = {
    "demo": Command(
        "serl_rt.sim.demo", "all", "learn a task in simulation, from set-up to picture"
    ),
    "control": Command("serl_rt.controller.control", "controller", "run the 1 kHz controller"),
    "learn": Command("serl_rt.learner.run", "learner", "run the learner"),
    "cameras": Command(
        "serl_rt.controller.cameras.command", "controller", "push cameras' images to the controller"
    ),
    "record": Command(
        "serl_rt.sim.record_command", "sim", "record scripted demonstrations in simulation"
    ),
    "classifier": Command(
        "serl_rt.learner.train_classifier", "learner", "train a reward classifier of images"
    ),
    "convert": Command(
        "serl_rt.learner.convert",
        "learner",
        "convert demonstrations from SERL, from and to LeRobot",
    ),
    "export": Command("serl_rt.learner.export_policy", "learner", "export a run's policy to ONNX"),
    "inspect": Command(
        "serl_rt.export.inspect", "learner", "describe a policy, a task or a demonstration file"
    ),
    "http": Command("serl_rt.controller.http.command", "http", "serve SERL's HTTP routes"),
    "doctor": Command(
        "serl_rt.controller.doctor.command", "controller", "check that this machine can run an arm"
    ),
    "keys": Command(
        "serl_rt.export.keys", "controller", "make the keys that let two machines talk"
    ),
}


def usage() -> str:
    """Return the help text of the program."""
    rows = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
    return (
        f"serl-rt {version('serl-rt')}: teach a robot arm by reinforcement learning\n\n"
        f"usage: serl-rt COMMAND [options]\n\n{rows}\n\n"
        "serl-rt COMMAND --help shows a command's options."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the process's exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(version("serl-rt"))
        return 0
    name, *rest = arguments
    command = COMMANDS.get(name)
    if command is None:
        print(
            f"serl-rt: unknown command '{name}'; choose from {', '.join(COMMANDS)}", file=sys.stderr
        )
        return 2
    try:
        status: int = importlib.import_module(command.module).main(rest)
    except ModuleNotFoundError as error:
        if error.name == "serl_rt.controller._core":
            print(
                f"serl-rt {name}: this installation has no controller; install the project again "
                "without SERL_RT_CONTROLLER=OFF",
                file=sys.stderr,
            )
            return 2
        if error.name and error.name.startswith("serl_rt"):
            raise
        print(
            f"serl-rt {name}: the package '{error.name}' is not installed; "
            f"install it with: pip install 'serl-rt[{command.extra}]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    return status
