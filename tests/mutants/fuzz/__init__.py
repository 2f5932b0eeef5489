"""A running service under generated calls, and its inspection under changed files: `make fuzz MINUTES=n`."""
