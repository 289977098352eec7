"""Simulated Franka arm: assets, gymnasium environments, scripted expert, demo.

Importing it makes the environments known to gymnasium:

    import gymnasium, serl_rt.sim
    env = gymnasium.make("serl_rt/PandaPickCube-v0", reward="dense")
"""

from importlib.util import find_spec

ENVIRONMENTS = {
    "serl_rt/PandaReach-v0": "reach",
    "serl_rt/PandaPickCube-v0": "pick_cube",
    "serl_rt/PandaPickCubeVision-v0": "pick_cube_vision",
    "serl_rt/PandaPickCubeVisionRandom-v0": "pick_cube_vision_random",
    "serl_rt/PandaPegInsert-v0": "peg_insert",
    "serl_rt/PandaPegInsertVision-v0": "peg_insert_vision",
    "serl_rt/PandaPickCubeSerl-v0": "pick_cube_serl",
}
"""Environment id -> bundled task. A task file of one's own: `SimArmEnv("path/to/task.toml")`."""

if find_spec("gymnasium") is not None:  # the rest of this package works without it
    import gymnasium

    for _name, _task in ENVIRONMENTS.items():
        gymnasium.register(_name, entry_point="serl_rt.sim.envs:SimArmEnv", kwargs={"task": _task})
