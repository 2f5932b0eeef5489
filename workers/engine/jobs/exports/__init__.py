"""Models as files: those that a job has trained, and a further format of a ready one."""
