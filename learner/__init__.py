"""The learner: replay, agents, networks, training."""
