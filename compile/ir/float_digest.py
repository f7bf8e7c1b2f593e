"""The digest of a float program: what bundles and caches know it by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from compile.ir.float_program import DIGEST, FloatOperator, FloatTensor
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import RELU, UNBOUNDED

# Settings that stand at a fixed place in a digest, whether an operator has them or not. A setting that is not among
# them is added by its name, so no field is left out but those that have their default; this list only keeps the
# digests of older bundles as they are.
SETTINGS = ("stride", "padding", "relu", "function", "row", "column", "channel")
OLDER_SETTINGS: dict[object, bool] = {UNBOUNDED: False, RELU: True}  # all clamps there were in older bundles


def program_digest(operators: Sequence[FloatOperator], preprocess: Preprocess) -> str:
    """Return the SHA-256 over shapes, weights and Preprocess."""
    digest = hashlib.sha256(repr(sorted(preprocess.to_dict().items())).encode())
    for operator in operators:
        for part in _digest_parts(operator):
            digest.update(part)
    return digest.hexdigest()


def _digest_parts(operator: FloatOperator) -> Iterator[bytes]:
    """Yield what an operator is, from every field but its name: tensors, then arrays, then settings."""
    yield f"{type(operator).__name__} {operator.output} {[tensor.name for tensor in operator.inputs]}".encode()
    for array in operator.weights:
        yield np.ascontiguousarray(array).tobytes()
    settings = {
        entry.metadata.get(DIGEST, entry.name): _setting(value)
        for entry in fields(operator)
        if entry.name != "name" and not _is_data(value := getattr(operator, entry.name)) and value != entry.default
    }
    settings.pop(None, None)
    yield repr([settings.pop(name, None) for name in SETTINGS]).encode()
    for name, value in settings.items():
        yield f"{name} {value}".encode()


def _setting(value: object) -> object:
    """Return what older bundles had instead: one number for a pair of equal ones, as most windows have."""
    if not isinstance(value, tuple):
        return value
    same = len({*value}) == 1 and isinstance(value[0], int)
    return value[0] if same else OLDER_SETTINGS.get(value, value)


def _is_data(value: object) -> bool:
    """Tell whether a field holds a tensor, several of them, an array, or nothing: no setting."""
    values = value if isinstance(value, tuple) else (value,)
    return all(item is None or isinstance(item, FloatTensor | np.ndarray) for item in values)
