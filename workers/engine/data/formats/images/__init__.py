"""Datasets of images: how each file becomes pixels."""
