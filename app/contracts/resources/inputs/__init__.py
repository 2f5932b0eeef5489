"""Kinds of inputs beside arrays: images, and texts."""
