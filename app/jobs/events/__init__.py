"""The events of a job: pages, even samples, and a stream."""
