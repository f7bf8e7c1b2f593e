"""What the program of a target is: the file that holds code and weights, and what lies beside it in a bundle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Form:
    """The files of a bundle that are made for the kind of machine; labels and vectors are the same for all."""

    model: str  # code and weights
    runner: str  # checks, verifies and measures the bundle where it is used
    beside: tuple[str, ...]  # what a program that uses the model needs of ours
    newer: tuple[str, ...] = ()  # of those, what bundles of earlier versions lack
    started_by: str = ""  # the program that starts the runner; empty: the machine itself

    @property
    def files(self) -> frozenset[str]:
        """The names of all files of a bundle but its manifest."""
        return frozenset({self.model, self.runner, *self.beside, "labels.txt", "vectors.bin"})

    def is_whole(self, names: Collection[str]) -> bool:
        """Return whether a bundle has the files it needs and no others."""
        return self.files - {*self.newer} <= set(names) <= self.files


ELF = Form("model.so", "repghost-run", ("repghost.h",))
WASM = Form(
    "model.wasm",
    "repghost-run.mjs",
    (
        "repghost.js", "download.js", "digest.js", "pixels.js", "vectors.js", "bench.js", "memory.js",
        "threads.js", "thread.js", "pieces.js", "boxes.js", "images.wasm", "repghost.d.ts", "package.json", "README.md",
    ),
    newer=("boxes.js",),
    started_by="node",
)  # fmt: skip
MACHO = Form("model.dylib", "repghost-run", ("repghost.h",))
FORMS = (ELF, MACHO, WASM)


def model_file(files: Mapping[str, Any]) -> str:
    """Return which of a bundle's files holds code and weights; that of the usual form where none does.

    Args:
        files: what a manifest or a report says of each, by name.
    """
    return next((form.model for form in FORMS if form.model in files), ELF.model)
