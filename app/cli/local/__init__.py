"""Commands on this machine: the service itself, its database and its keys. They need the extra `server`."""
