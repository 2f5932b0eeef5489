"""What can be done with jobs that have ended: retries, and deletion."""
