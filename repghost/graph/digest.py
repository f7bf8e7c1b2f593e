"""The digest of a graph: what it computes, to the bit."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np

from repghost.graph.operators import Graph


def graph_digest(graph: Graph) -> str:
    """Return the SHA-256 over a graph's operators and weights, hexadecimal."""
    digest = hashlib.sha256(f"{graph.channels} {graph.size}{' '.join(('', *graph.results))}".encode())
    for op in graph.operators:
        digest.update(type(op).__name__.encode())
        for field in fields(op):
            value = getattr(op, field.name)
            digest.update(f"\0{field.name}\0".encode())
            if isinstance(value, np.ndarray):
                digest.update(f"{value.shape}".encode() + np.ascontiguousarray(value, "<f4").tobytes())
            else:
                digest.update(repr(value).encode())
    return digest.hexdigest()
