"""Networks whose tasks share otherwise than by one trunk: one scheme, one file."""
