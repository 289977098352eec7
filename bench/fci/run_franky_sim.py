"""Serve a simulated FR3 with a hand with franky-sim, which enforces nothing, on one address."""

import argparse
import logging
import os
import sys


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--host", required=True)
    p.add_argument("--priority", type=int, default=30, help="SCHED_FIFO; 0: ordinary scheduling")
    arguments = p.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(created).3f|%(levelname)s|%(message)s"
    )
    sys.setswitchinterval(0.0005)

    import franky_sim
    from franky_sim.mujoco_simulator import MujocoSimulator

    with MujocoSimulator(enable_visualization=False) as simulator:
        simulator.add_robot()
        with franky_sim.SimulationServer(simulator, hostname_candidates=[arguments.host]) as server:
            if arguments.priority > 0:
                try:
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(arguments.priority))
                except PermissionError:
                    logging.warning("no SCHED_FIFO priority for the server")
            logging.info("Server ready")
            try:
                server.run_forever()
            except KeyboardInterrupt:
                pass


if __name__ == "__main__":
    main()
