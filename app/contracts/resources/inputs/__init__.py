"""Kinds of inputs beside arrays: images, texts and sounds."""
