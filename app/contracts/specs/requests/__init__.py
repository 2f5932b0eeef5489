"""Bodies of requests that are no job specs."""
