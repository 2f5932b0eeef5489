"""The demo of texts: which language five words of a manual page are in."""
