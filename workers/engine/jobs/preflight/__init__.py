"""Preflight: runs the first steps of a job to find its errors and estimate its cost."""
