"""`make demo`: the main job in the open, by curl, on real handwritten digits."""
