"""HTTP for all resources: strict JSON, validation, errors, multipart, files and ranges, pages, long-polling."""
