"""Folders that `save_pretrained` of transformers writes, uploaded as a zip."""
