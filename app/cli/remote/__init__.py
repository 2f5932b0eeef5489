"""Commands for a service, which may be elsewhere: they talk to its HTTP API by the Python client."""
