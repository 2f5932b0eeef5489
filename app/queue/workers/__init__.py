"""Workers, and the leases by which they hold jobs."""
