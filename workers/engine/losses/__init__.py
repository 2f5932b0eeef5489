"""One method, one file: pure functions of outputs and targets, one number a row."""
