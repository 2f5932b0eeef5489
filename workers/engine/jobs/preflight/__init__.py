"""A job up to its first steps: what stands in its way, and what the rest would cost."""
