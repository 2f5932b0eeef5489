"""The forward pass of a network in training."""
