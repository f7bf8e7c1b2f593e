"""Kernels that move integers of one scale: concatenations, parts, borders, other orders."""
