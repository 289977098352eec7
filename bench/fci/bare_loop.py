"""The control of loop_quality: pylibfranka's read/write loop, with nothing in it.

Prints one line of JSON: cycles per second, and percentiles of the cycle time.
"""

import argparse
import gc
import json
import os
import sys
import time

import numpy as np
import pylibfranka


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--robot-ip", required=True)
    p.add_argument("--seconds", type=float, required=True)
    p.add_argument("--priority", type=int, default=80, help="SCHED_FIFO, as the controller's")
    arguments = p.parse_args()
    robot = pylibfranka.Robot(arguments.robot_ip, pylibfranka.RealtimeConfig.kIgnore)
    control = robot.start_torque_control()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(arguments.priority))
    except PermissionError:
        print("no SCHED_FIFO priority", file=sys.stderr)
    torques = pylibfranka.Torques([0.0] * 7)
    times = []
    gc.disable()
    end = time.perf_counter() + arguments.seconds
    while not times or times[-1] < end:
        state, _ = control.readOnce()
        times.append(time.perf_counter())
        control.writeOnce(torques)
    torques.motion_finished = True
    control.writeOnce(torques)
    periods_us = 1e6 * np.diff(times)
    print(
        json.dumps(
            {
                "hz": 1e6 / float(periods_us.mean()),
                "p50_us": float(np.percentile(periods_us, 50)),
                "p99_us": float(np.percentile(periods_us, 99)),
                "p999_us": float(np.percentile(periods_us, 99.9)),
                "max_us": float(periods_us.max()),
                "success_rate": state.control_command_success_rate,
            }
        )
    )


if __name__ == "__main__":
    main()
