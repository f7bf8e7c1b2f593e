"""The page for browsers: `repghost.demo`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.web.demo import ShownNetwork, write_demo
from repghost.api.bundles import BundleLike, as_paths
from repghost.terminal import Shown


@dataclass(frozen=True, repr=False)
class Demo(Shown):
    """A folder that any web server serves.

    Attributes:
        folder: with index.html.
        networks: those it runs, in the order it shows them.
    """

    folder: Path
    networks: tuple[ShownNetwork, ...]

    def __repr__(self) -> str:
        total = sum(network.bytes for network in self.networks)
        serve = f"python -m http.server -d {self.folder}"
        return f"{self.folder}: {len(self.networks)} networks, {total / 1e6:.1f} MB to fetch; serve it: {serve}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"folder": str(self.folder), "networks": [vars(network) for network in self.networks]}


def demo(bundles: BundleLike | Sequence[BundleLike], *, output: str | os.PathLike[str] = "build/demo") -> Demo:
    """Write a page that classifies pictures and measures networks in the browser of whoever opens it.

    Args:
        bundles: of networks compiled with target "web", or folders that hold such bundles.
        output: a folder of plain files, for any web server; an earlier demo there is replaced.

    Raises:
        UsageError: when there is no such bundle, or the folder holds something else.
        IntegrityError: when a bundle is damaged.
    """
    paths = [found for path in as_paths(bundles) for found in _web_bundles(path)]
    return Demo(Path(output), write_demo(paths, Path(output)))


def _web_bundles(path: Path) -> list[Path]:
    """Return the bundles for browsers in a folder of runs; a folder without any stands for itself."""
    found = sorted(file.parent for depth in ("", "*/", "*/*/") for file in path.glob(f"{depth}web/*/manifest.json"))
    return found or [path]
