"""The controller against servers that speak the robot's own network protocol.

`make fci` runs every case (cases/*.py) and writes runs/fci/summary.json; servers.py starts the
servers.
"""
