"""What runs the jobs: the runtime that holds them and the engine that computes."""
