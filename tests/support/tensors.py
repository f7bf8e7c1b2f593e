"""Comparing the tensors of two networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def differing(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], absolute: float = 0.0, relative: float = 0.0
) -> list[str]:
    """Return the names of the tensors that differ by more than a tolerance, or that one of two state dicts lacks."""
    lacking = first.keys() ^ second.keys()
    return sorted(lacking) + [
        name
        for name in first.keys() & second.keys()
        if first[name].shape != second[name].shape
        or not torch.allclose(first[name], second[name], rtol=relative, atol=absolute)
    ]
