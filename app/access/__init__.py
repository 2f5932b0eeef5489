"""API keys: made, kept as digests, checked before anything of a request is read."""
