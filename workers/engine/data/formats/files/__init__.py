"""Datasets of files, such as images or sounds: archives of them, their folders and tables, columns of parquet."""
