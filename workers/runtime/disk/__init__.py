"""A worker's disk: cached inputs, free space, and checkpoints handed from one job to its retry."""
