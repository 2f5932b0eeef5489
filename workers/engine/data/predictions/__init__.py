"""Outputs of a teacher that ran elsewhere, joined to the rows of a dataset by the id of each row."""
