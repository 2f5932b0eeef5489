"""The runtime: holds jobs, devices and children. It imports neither torch nor the engine."""
