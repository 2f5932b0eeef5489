"""The blob store, the staging directory of uploads, and free space on the disk."""
