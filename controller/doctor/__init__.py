"""`serl-rt doctor`: is this machine fit to run the 1 kHz controller, and what mends it if not."""
