"""Where bytes lie: the blob store by digest, uploads on their way to it, and room on the disk."""
