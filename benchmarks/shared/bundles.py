"""Bundles that this version of the code made: built again where the code changed or they were removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from compile.bundle.manifest import Bundle, check_bundle
from compile.link.toolchain import runner_sources
from compile.storage.code_key import code_digest, files_digest
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import versions
from compile.subject.request import Request
from compile.subject.subject import RANDOM


def random_folder(model: str, size: int) -> str:
    """Return the name of the folder of a run with random weights."""
    return f"{model}-{size}px-{RANDOM}"


def fresh_bundles(request: Request, folder: str, store: Measurements, say: Callable[[str], None]) -> list[Bundle]:
    """Return the bundles of a run for its target, one for each precision in the request's order.

    Args:
        request: what to build.
        folder: the name of the run's folder in `request.output`.
        store: remembers what this version of the code made.
        say: is given one line per stage of a run that is needed.
    """
    from compile.pipeline import run

    paths = [request.output / folder / request.target / precision.name for precision in request.precisions]
    asked = {name: str(value) for name, value in asdict(request).items() if name not in ("output", "jobs")}
    tools = versions("apache-tvm", "ziglang", "torch", "numpy")
    code, sources = code_digest("compile.pipeline"), files_digest(runner_sources())
    key = {"request": asked, "code": code, "sources": sources, "tools": tools}

    def build() -> list[str]:
        run(request, say)
        return _digests(paths)

    known = store.record("fresh-bundles", key, build)
    if not all(path.is_dir() for path in paths) or _digests(paths) != known:
        build()
    return [check_bundle(path) for path in paths]


def _digests(paths: list[Path]) -> list[str]:
    return [check_bundle(path).digest for path in paths]
