"""`serl-rt http`: SERL's and HIL-SERL's robot server, for their environments as they are."""
