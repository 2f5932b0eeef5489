"""Ten minutes with the service: README.md, and the pictures in it, which `make pictures` takes anew."""
