"""Inspection of uploads: untrusted files are parsed, checked against their manifests, and rejected with a reason."""
