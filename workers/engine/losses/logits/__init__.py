"""Comparisons of logits, one method a file."""
