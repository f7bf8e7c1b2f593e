"""What the program of a target is: the file that holds code and weights, and what lies beside it in a bundle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Form:
    """The files of a bundle that are made for the kind of machine; labels and vectors are the same for all."""

    model: str  # code and weights
    runner: str  # checks, verifies and measures the bundle where it is used
    beside: tuple[str, ...]  # what a program that uses the model needs of ours
    newer: tuple[str, ...] = ()  # of all files, those that bundles of earlier versions lack
    started_by: str = ""  # the program that starts the runner; empty: the machine itself
    # Files of the variants that share none with the others, because a machine that lacks one refuses the whole file.
    apart: Mapping[str, str] = field(default_factory=dict, hash=False)

    def model_of(self, variant: str) -> str:
        """Return which file holds code and weights for an instruction set."""
        return self.apart.get(variant, self.model)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of all files that hold code and weights."""
        return tuple(dict.fromkeys((self.model, *self.apart.values())))

    @property
    def files(self) -> frozenset[str]:
        """The names of all files of a bundle but its manifest."""
        return frozenset({*self.models, self.runner, *self.beside, "labels.txt", "vectors.bin"})

    def is_whole(self, names: Collection[str]) -> bool:
        """Return whether a bundle has the files it needs and no others."""
        return self.files - {*self.newer} <= set(names) <= self.files


ELF = Form("model.so", "repghost-run", ("repghost.h",))
WASM = Form(
    "model.wasm",
    "repghost-run.mjs",
    (
        "repghost.js", "download.js", "digest.js", "pixels.js", "vectors.js", "bench.js", "memory.js",
        "threads.js", "thread.js", "pieces.js", "boxes.js", "variants.js", "images.wasm", "repghost.d.ts",
        "package.json", "README.md",
    ),
    newer=("boxes.js", "variants.js", "model-relaxed.wasm"),
    started_by="node",
    apart={"relaxed": "model-relaxed.wasm", "madd": "model-relaxed.wasm"},
)  # fmt: skip
MACHO = Form("model.dylib", "repghost-run", ("repghost.h",))
FORMS = (ELF, MACHO, WASM)


def model_file(files: Mapping[str, Any]) -> str:
    """Return which of a bundle's files holds code and weights; that of the usual form where none does.

    Args:
        files: what a manifest or a report says of each, by name.
    """
    return next((form.model for form in FORMS if form.model in files), ELF.model)
