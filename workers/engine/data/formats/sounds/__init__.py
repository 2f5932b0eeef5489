"""Datasets of sounds: how each file becomes features."""
