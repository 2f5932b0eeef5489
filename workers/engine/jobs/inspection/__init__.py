"""Uploads: read with suspicion, checked against their manifests, refused with a reason."""
