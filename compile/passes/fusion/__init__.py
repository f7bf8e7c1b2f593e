"""Passes that make one node of several or drop nodes that compute nothing; Q/DQ nodes belong to `quantization`."""
