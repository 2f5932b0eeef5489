"""Workers: the runtime claims jobs and supervises child processes, the engine computes."""
