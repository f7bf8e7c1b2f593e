"""Passes over Q/DQ nodes, quantized constants and scales; what nodes compute belongs to `fusion`."""
