"""Sets of images by how they are stored, one format per file; which of them a path is, `open_by_format` says."""
