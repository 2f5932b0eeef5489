"""Datasets of images: archives of files, and how each becomes pixels."""
