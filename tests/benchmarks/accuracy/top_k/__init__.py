"""Students of stored top-k targets beside students of all scores, on 100 and on 1000 classes."""
