"""Rows of a request: read from JSON, csv, jsonl or npz, checked, in the form that the model takes."""
