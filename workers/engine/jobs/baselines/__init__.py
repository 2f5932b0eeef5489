"""Baselines: single-task models with which a multi-task student is compared."""
