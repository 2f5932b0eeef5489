"""What a key takes of the queue: its turns, and how much it may have in it."""
