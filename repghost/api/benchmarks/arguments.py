"""The arguments of `repghost.bench` as one value, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.deploy import measure
from compile.deploy.labelled_images import LabelledImages
from repghost.api.bundles import Say, Ssh
from repghost.errors import RepGhostError, UsageError
from repghost.terminal import Shown


@dataclass(frozen=True, eq=False, repr=False)
class Benchmark(Shown):
    """What was measured of bundles.

    Attributes:
        values: JSON values, as `repghost bench --json` writes them.
        text: the same as tables.
    """

    values: Mapping[str, Any]
    text: str

    @property
    def failed(self) -> int:
        """How many measurements on boards failed; `values["results"]` says why."""
        return sum(not entry.get("measured", True) for entry in self.values.get("results", ()))

    def check(self) -> None:
        """Raise RepGhostError, with the code of the first failure, when a measurement on a board failed."""
        if self.failed:
            error = RepGhostError(f"{self.failed} of {len(self.values['results'])} measurements failed; see above.")
            error.exit_code = measure.result_code(self.values)
            raise error

    def __repr__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dict(self.values)


@dataclass(frozen=True)
class BenchArguments:
    """The arguments of `bench`, each under its own name."""

    paths: tuple[Path, ...]
    on: tuple[str, ...]
    against: str | None
    precision: tuple[str, ...]
    variants: tuple[str, ...]
    threads: tuple[int, ...]
    rounds: int
    inferences: int
    warmup: int
    weights: Path | None
    python: Path | None
    per_layer: bool
    keep: Path | None
    count: bool
    cpu: str | None
    seconds: int | None
    cores: str | None
    accuracy: Path | None
    images: int | None
    class_map: Path | None
    val_share: float | None
    all_widths: bool
    output: Path
    size: int
    ssh: Ssh
    say: Say

    def only_bundle(self, option: str) -> Path:
        """Return the bundle, for an option that measures one.

        Raises:
            UsageError: when there are none, several, or several instruction sets.
        """
        if len(self.paths) != 1 or len(self.variants) > 1:
            raise UsageError(f"{option} takes one bundle and at most one instruction set at a time.")
        return self.paths[0]

    def board_run(self, images: Mapping[str, LabelledImages] | None = None) -> measure.BoardRun:
        """Return what is measured on a board.

        Args:
            images: labelled images to evaluate on the board, by bundle digest.
        """
        runs, warmup = self.rounds * self.inferences, self.warmup * self.inferences
        return measure.BoardRun(
            self.threads, runs, warmup, self.only_variant, self.seconds, self.cores, labelled=images or {}
        )

    @property
    def only_variant(self) -> str | None:
        """The instruction set of an option that measures one; None: the best."""
        return self.variants[0] if self.variants else None
