"""What the numbers of a dataset say about it: meaning of teachers' outputs, statistics of labels, warnings."""
