"""What several passes do to tensor names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from compile.ir.qdq_graph import Node


def rename_inputs(nodes: Iterable[Node], names: Mapping[str, str]) -> tuple[Node, ...]:
    """Return nodes that read another tensor wherever they read a key of `names`; chains of names are followed."""

    def final(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    return tuple(
        replace(
            node,
            inputs=tuple(final(name) for name in node.inputs),
            residual=None if node.residual is None else final(node.residual),
        )
        for node in nodes
    )
