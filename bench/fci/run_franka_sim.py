"""Serve a simulated FR3 with franka-sim; run by the interpreter of its own environment (.venv-fci).

Its command line binds every network interface; this binds one address, and gives the server the
scheduling without which it cannot keep 1 kHz.
"""

import argparse
import logging
import os
import sys


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--host", required=True)
    p.add_argument("--mjcf", required=True, help="arm model")
    p.add_argument("--limits", action="store_true", help="abort a motion that breaks a limit")
    p.add_argument("--timing", action="store_true", help="abort after 20 cycles without a command")
    p.add_argument("--object-width", type=float, help="[m] of something to grasp")
    p.add_argument("--priority", type=int, default=30, help="SCHED_FIFO; 0: ordinary scheduling")
    arguments = p.parse_args()
    os.environ["FR3_MJCF"] = arguments.mjcf
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(created).3f|%(levelname)s|%(message)s"
    )
    sys.setswitchinterval(0.0005)  # its threads take turns within a cycle
    if arguments.priority > 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(arguments.priority))
        except PermissionError:
            logging.warning("no SCHED_FIFO priority for the server")

    from franka_sim import FrankaSimServer  # reads FR3_MJCF when it is imported

    server = FrankaSimServer(
        host=arguments.host,
        gripper_object_width=arguments.object_width,
        enforce_comm_constraints=arguments.timing,
        enforce_motion_limits=arguments.limits,
    )
    try:
        server.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


if __name__ == "__main__":
    main()
