"""Uploads from what callers have: files and folders, arrays, frames, modules."""
