"""How gradients become new weights: optimizers, their steps, and learning rates."""
