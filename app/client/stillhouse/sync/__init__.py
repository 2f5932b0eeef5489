"""The client that blocks the calling thread."""
