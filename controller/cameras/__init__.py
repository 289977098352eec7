"""Cameras of the robot cell: read, cropped, resized and pushed into the controller's slots."""
