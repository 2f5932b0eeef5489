"""Accuracy of every method on real digits."""
