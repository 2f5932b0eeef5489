"""HTTP pieces that every resource shares: strict JSON, problems, uploads, files, pages, waiting."""
