"""Columns of a file as the labels of targets: of rows, and of the pixels of images."""
