"""What i8mm does otherwise than the dot-product variant besides smmla."""

from __future__ import annotations

from compile.intrin.base import GemmShape
from compile.intrin.dot import Dot
from compile.intrin.i8mm import I8mm, Smmla
from compile.targets.tuning import AS_VARIANT


def test_products_are_left_to_llvm_and_other_kernels_are_as_those_of_sdot() -> None:
    """A pair of loads costs these cores nothing."""
    for shape in (GemmShape(1, 16, 0, 16), GemmShape(1, 960, 0, 960), GemmShape(3, 12, 900, 8)):
        assert I8mm().tuning(shape) == Smmla(7).tuning(shape) == AS_VARIANT
    assert I8mm().tuning() == Dot().tuning() != AS_VARIANT
