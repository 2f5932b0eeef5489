"""Many networks of one architecture trained as one step, with the engine's own settings, weights, batches and losses.

Each network gets the update of a separate job up to rounding; jobs are compared with it in
tests/engine/training/test_stacked_networks.py. Tiny networks train so 10 to 50 times faster than one after another.
"""
