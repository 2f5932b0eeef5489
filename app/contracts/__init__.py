"""The shared kernel: job specs, manifests, states, events, reports. Standard library and pydantic only."""
