"""Measuring what was trained: metrics, fidelity, verdict, cost, predictions, report."""
