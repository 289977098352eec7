"""Simulated Franka arm: assets, gymnasium environments, scripted expert, demo."""
