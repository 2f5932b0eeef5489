"""What an inspection costs: seconds from the upload to `ready`, and memory, of this tree and of another checkout."""
