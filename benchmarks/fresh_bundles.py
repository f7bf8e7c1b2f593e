"""Bundles that this very version of the code made: built again only when the code changed or they were removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from compile.bundle.manifest import Bundle, check_bundle
from compile.storage.stage_cache import StageCache, code_digest, versions
from compile.storage.strict_json import parse_strict
from compile.subject.request import Request


def fresh_bundles(request: Request, folder: str, cache: StageCache, say: Callable[[str], None]) -> list[Bundle]:
    """Return the bundles of a run for its target, one for each precision in the request's order.

    Args:
        request: what to build.
        folder: the name of the run's folder in `request.output`.
        cache: remembers what this version of the code made.
        say: is given one line per stage of a run that is needed.
    """
    from compile.pipeline import run

    paths = [request.output / folder / request.target / precision.name for precision in request.precisions]
    asked = {name: str(value) for name, value in asdict(request).items() if name not in ("output", "jobs")}
    tools = versions("apache-tvm", "ziglang", "torch", "numpy")
    key = {"request": asked, "code": code_digest("repghost", "calib", "compile"), "tools": tools}

    def make() -> dict[str, bytes]:
        run(request, say)
        return {"bundles.json": json.dumps({"digests": _digests(paths)}).encode()}

    known = parse_strict(cache.get("fresh-bundles", key, make)[0]["bundles.json"], "bundles.json")
    if not all(path.is_dir() for path in paths) or _digests(paths) != known["digests"]:
        make()
    return [check_bundle(path) for path in paths]


def _digests(paths: list[Path]) -> list[str]:
    return [check_bundle(path).digest for path in paths]
