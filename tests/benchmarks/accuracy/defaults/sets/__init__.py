"""The data sets on which defaults are measured."""
