"""Signals of commits by other processes."""
