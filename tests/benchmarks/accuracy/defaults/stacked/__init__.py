"""Many networks of one architecture trained as one step, with the engine's own settings, weights, batches and losses.

Each network gets the update of a separate job up to rounding: `tests/unit/defaults/test_stacks.py`.
"""
