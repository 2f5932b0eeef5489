"""Texts as rows of tokens: tokenizers of models, and those that are trained on a dataset."""
