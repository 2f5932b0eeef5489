"""Warnings about a training that has ended: their criteria, pure functions, and the messages."""
