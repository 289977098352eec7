"""Benchmarks: every speed next to a control measured in the same run."""
