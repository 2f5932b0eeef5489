"""Comparisons of numbers, one a file."""
