"""The stages of a run, one per file: from a subject to packed bundles. The order is in compile/pipeline.py."""
