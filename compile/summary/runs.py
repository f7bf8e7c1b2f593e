"""The runs behind a page: one per width that has weights; what an earlier call finished is not repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from compile.bundle.manifest import MANIFEST
from compile.link.toolchain import runner_sources
from compile.report.run_report import JSON_FILE, read_report
from compile.stages.pack import TOOLS
from compile.storage.code_key import code_digest, files_digest
from compile.storage.stage_cache import key_digest, versions
from compile.subject.request import Request
from compile.subject.subject import RANDOM, TIMM
from compile.summary.expected_time import duration, expect_time
from repghost import bundled
from repghost.errors import RepGhostError, UsageError, option
from repghost.files import write_text_atomically
from repghost.network.spec import WIDTHS, parse_width
from repghost.untrusted import file_digest, read_bounded

CHECKPOINTS = (".safetensors", ".pth", ".pt", ".tar", ".qdq.onnx")


def plan_runs(request: Request, widths: str) -> list[Request]:
    """Return one request for each width that has weights.

    Args:
        request: what the runs have in common; its weights are "timm", "random", a checkpoint, a folder of checkpoints,
            or None for the bundled ones.
        widths: "all", or widths separated by commas.

    Raises:
        UsageError: for an unknown width, or a folder without checkpoints.
    """
    wanted = [row.multiplier for row in WIDTHS] if widths == "all" else [parse_width(w) for w in widths.split(",")]
    weights = request.weights
    if weights in (TIMM, RANDOM):
        return [replace(request, width=f"{width:g}") for width in wanted]
    if weights and Path(weights).is_dir():
        files = sorted(path for path in Path(weights).rglob("*") if path.name.endswith(CHECKPOINTS) and path.is_file())
        if not files:
            raise UsageError(f"{weights} holds no checkpoint; allowed: {', '.join(CHECKPOINTS)}.")
        return [replace(request, weights=str(path)) for path in files]
    if weights is None and bundled.WIDTH not in wanted:
        raise UsageError(
            f"the bundled weights are {bundled.WIDTH:g}x; for other widths give {option('weights')}, e.g. timm."
        )
    return [request]


def run_all(requests: Iterable[Request], say: Callable[[str], None]) -> list[str]:
    """Run what has not been run, each width alone; return a sentence for each that failed.

    Args:
        requests: from `plan_runs`.
        say: called with each line.
    """
    from compile.pipeline import run

    planned = [(request, request.output / ".cache" / f"run-{_key(request)}") for request in requests]
    left = _Left([request for request, stamp in planned if not _finished(stamp)], say)
    failures = []
    for request, stamp in planned:
        name = f"{request.weights or bundled.WEIGHTS.name}{f' {request.width}x' if request.width else ''}"
        if _finished(stamp):
            say(f"== {name}: as in an earlier run")
            continue
        say(f"== {name}{left.text()}")
        try:
            with left.timed():
                report = run(request, say)
        except RepGhostError as error:  # the other widths do not suffer from it
            failures.append(f"{name}: {error}")
            say(f"== {name} failed: {error}")
            continue
        write_text_atomically(stamp, f"{report['folder']}\n{_digest(Path(report['folder']))}\n")
    return failures


class _Left:
    """How long the runs that are left will take, corrected by those that are done."""

    def __init__(self, requests: list[Request], say: Callable[[str], None]) -> None:
        found = expect_time(requests) if requests else None
        self._expected = list(found.seconds) if found else []
        self._spent = self._guessed = 0.0
        if found:
            evaluating, calibrating = found.images
            widths = "1 width" if len(requests) == 1 else f"{len(requests)} widths"
            say(
                f"{widths} will take {duration(sum(found.seconds))} on this machine, guessed by a few pictures: "
                f"each is evaluated on {evaluating}, {calibrating} calibrate. What is finished is kept when the run is "
                "stopped."
            )

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time the run of the next width."""
        started = time.monotonic()
        try:
            yield
        finally:
            if self._expected:
                self._guessed += self._expected.pop(0)
                self._spent += time.monotonic() - started

    def text(self) -> str:
        """Return what is said of the time that is left, once a width is done."""
        if not self._guessed or not self._expected:
            return ""
        return f" ({duration(sum(self._expected) * self._spent / self._guessed)} left)"


def _key(request: Request) -> str:
    """Return a name made of what can change a run: settings, weights, images, code and tools."""
    files = [path for path in (request.config, request.preprocess, request.class_map) if isinstance(path, Path)]
    files += [Path(name) for name in (request.weights, request.class_order) if name and Path(name).is_file()]
    values = {
        "request": {key: str(value) for key, value in asdict(request).items()},
        "files": [file_digest(path) for path in files],
        "pictures": _listing(request.data or bundled.DATA),
        "code": code_digest("compile.pipeline"),
        "sources": files_digest(runner_sources()),
        "tools": versions(*TOOLS),
    }
    return key_digest(values)


def _listing(data: Path) -> list[tuple[str, int, int]]:
    """Return every file of a set with its size and time of change: a set of a million images is not read for a name.

    A run reads them all, and its own stages are kept under the digest of the images.
    """
    files = sorted(path for path in data.rglob("*") if path.is_file()) if data.is_dir() else [data]
    stats = [(path, path.stat()) for path in files if path.is_file()]
    return [(str(path.relative_to(data)), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def _finished(stamp: Path) -> bool:
    """Return whether the run that wrote the stamp is still there as it was."""
    if not stamp.is_file():
        return False
    lines = read_bounded(stamp, 1 << 16).decode("utf-8", "replace").splitlines()
    return len(lines) == 2 and bool(lines[1]) and _digest(Path(lines[0])) == lines[1]


def _digest(folder: Path) -> str:
    """Return the digest of the bundles that a run's report names, as they lie on the disk; "" where one is gone."""
    if not (folder / JSON_FILE).is_file():
        return ""
    bundles = [folder / str(build["folder"]) / MANIFEST for build in read_report(folder)["builds"]]
    if not all(path.is_file() for path in bundles):
        return ""
    return key_digest({"bundles": [file_digest(path) for path in bundles]})
