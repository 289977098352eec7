"""Image encoders, their weights and the augmentations."""
