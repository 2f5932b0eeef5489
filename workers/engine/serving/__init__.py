"""Predictions: rows as a client sends them -> what a model answers, with the model kept loaded."""
