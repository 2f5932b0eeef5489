"""Evaluation of trained networks: metrics, fidelity, verdict, cost, predictions, report."""
