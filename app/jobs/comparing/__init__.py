"""Jobs compared with each other: each against the control, corrected for their number."""
