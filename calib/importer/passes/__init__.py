"""From the operators that a walk over a file made to those of a graph, a pass per file."""

from __future__ import annotations

from collections.abc import Mapping

from calib.importer.draft import DraftOperator
from calib.importer.passes.drafts import Drafts, Pass
from calib.importer.passes.finish_head import drop_probabilities, finish_head
from calib.importer.passes.fold_affine import affine_to_convolution, fold_affine
from calib.importer.passes.fold_pads import fold_pads
from calib.importer.passes.fuse_clamps import fuse_clamps
from calib.importer.passes.merge_branches import merge_branches
from calib.importer.passes.merge_slices import merge_slices
from calib.importer.passes.order import in_order
from repghost.graph.shapes import Shape

ROUNDS = 8  # a Relu between two straight lines needs another round


def simplified(
    operators: tuple[DraftOperator, ...], outputs: tuple[str, ...], maps: Mapping[str, Shape]
) -> tuple[Drafts, tuple[str, ...]]:
    """Return the operators of a graph, and notes about what was changed.

    Args:
        operators: in the order of the file.
        outputs: the names of those that make the results.
        maps: the shape of each result.
    """
    needed = in_order(Drafts(operators, outputs, maps))  # what nobody needs would count as a reader
    drafts = Drafts(needed, outputs, maps)
    notes = drop_probabilities(drafts) if len(outputs) == 1 else ()
    _repeat(drafts, fold_affine, fuse_clamps)
    fold_pads(drafts)
    _repeat(drafts, fold_affine, fuse_clamps)
    affine_to_convolution(drafts)
    _repeat(drafts, merge_branches, fold_affine, fuse_clamps)
    merge_slices(drafts)
    if len(outputs) == 1:
        finish_head(drafts)
    return drafts, notes


def _repeat(drafts: Drafts, *passes: Pass) -> None:
    """Run passes until they change nothing."""
    for _ in range(ROUNDS):
        before = drafts.changes
        for change in passes:
            change(drafts)
        if drafts.changes == before:
            return
