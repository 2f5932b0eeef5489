"""Criteria of the warnings about a training that has ended, as pure functions, and the warnings that follow from them."""
