"""Losses on intermediate features, and the projectors that make two networks' features comparable."""
