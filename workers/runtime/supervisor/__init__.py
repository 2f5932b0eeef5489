"""The supervisor: one for each worker process."""
