"""API keys: created, stored as digests, checked before a request's body is read."""
