"""The arithmetic a network can be compiled in: one row each."""

from __future__ import annotations

from dataclasses import dataclass

from repghost.errors import UsageError, unknown_value


@dataclass(frozen=True)
class Precision:
    """One kind of arithmetic and what is promised about it."""

    name: str
    element: str  # what activations are kept as
    exact: bool  # every build gives the same bits; otherwise within `tolerance` of the largest logit
    tolerance: float
    oracle: str  # who says what the logits have to be
    by_default: bool = True  # whether a run that names no precision makes it


INT8 = Precision("int8", "int8", True, 0.0, "numpy reference of the integer program")
FP32 = Precision("fp32", "float32", False, 1e-4, "PyTorch")
# Measured on real images: at most 2.3 % of the largest logit, which an added-up rounding of every sum makes.
FP16 = Precision("fp16", "float16", False, 5e-2, "numpy reference of the float program", by_default=False)
PRECISIONS = {precision.name: precision for precision in (INT8, FP32, FP16)}


def default_precisions() -> str:
    """Return what is compiled where nobody names a precision, as the command line takes it."""
    return ",".join(name for name, precision in PRECISIONS.items() if precision.by_default)


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Return the rows named in a comma-separated list, in the table's order.

    Raises:
        UsageError: for an empty list, or an unknown name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PRECISIONS:
            raise unknown_value("precision", name, PRECISIONS)
    if not names:
        raise UsageError(f"no precision was given; allowed: {', '.join(PRECISIONS)}.")
    return tuple(precision for name, precision in PRECISIONS.items() if name in names)
