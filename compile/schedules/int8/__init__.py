"""Kernels of integer programs: one operator per file."""
