"""Policies of the size that is benchmarked: two hidden layers of 256, layer norm, tanh."""

from pathlib import Path

from serl_rt.export.onnx_graph import PolicyExporter
from serl_rt.export.policy_module import PolicyModule
from serl_rt.export.publish import write_policy_file
from serl_rt.export.task import TaskFile
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.policy_export import ActorModule
from serl_rt.learner.recipe import load_recipe

RECIPE = "serl_sac"


def policy_module(task: TaskFile) -> PolicyModule:
    """Return an untrained policy of SERL's size for a task."""
    agent = build_agent(load_recipe(RECIPE), task.contract, seed=0)
    return PolicyModule(task.contract, ActorModule(agent.actor))


def exporter(task: TaskFile) -> PolicyExporter:
    """Return what exports such a policy."""
    return PolicyExporter(policy_module(task), task.contract, RECIPE)


def write_policy(task: TaskFile, path: Path) -> Path:
    """Write such a policy file."""
    write_policy_file(exporter(task).export(1, 0), path)
    return path
