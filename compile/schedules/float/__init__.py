"""Kernels of float programs: one operator per file."""
