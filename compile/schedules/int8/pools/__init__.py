"""Kernels that make one value of each window of a map."""
