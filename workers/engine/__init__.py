"""The engine: a spec and local files in, local files and events out. No database, no network."""
