"""Our builds of one network and other runtimes', measured in turns in one page; and how long a fresh page waits."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.shared.browser import Browser
from benchmarks.shared.page import ISOLATED, Page, PageError, opened, served
from benchmarks.web.contenders import Build, PageContender
from compile.bench.compare import Field, Settings, measure_rounds
from compile.bench.prepare_inputs import Prepared
from compile.bench.statistics import agreement, paired_ratio
from repghost.errors import IntegrityError

LIMIT_S = 300.0  # of one answer of the page: a runtime that opens, or a turn
# Nobody looks at the page, and it is not to be slowed down for that.
FLAGS = ("--disable-background-timer-throttling", "--disable-renderer-backgrounding")
HEADERS = {**ISOLATED, "Cache-Control": "no-store"}  # every visit is a first one
Absent = list[dict[str, str]]
Say = Callable[[str], None]


@contextmanager
def open_page(browser: Browser, folder: Path, profile: Path) -> Iterator[tuple[Page, str]]:
    """Serve a folder to this machine, and yield a page of a fresh browser and the address of the folder."""
    with served(folder, HEADERS) as address, opened(browser, profile, *FLAGS) as page:
        page.limit_s = LIMIT_S
        yield page, address


def visit(page: Page, address: str) -> None:
    """Open the page anew: nothing is loaded in it.

    Raises:
        PageError: when its clock is a coarse one.
    """
    page.open(address)
    page.until("globalThis.ready === true")
    if not page.run("crossOriginIsolated"):
        raise PageError("the page is not isolated, so that its clock is coarse; another server answers in ours' place.")


def compare_in_page(
    page: Page, builds: Sequence[Build], prepared: Prepared, settings: Settings, say: Say
) -> tuple[dict[str, Any], Absent]:
    """Return one entry of "runs", as `compile.bench.compare.run_bench` has them, and who could not take part.

    Args:
        page: a visited one, of the folder that `lay_out` filled.
        builds: ours first.
        prepared: the images, and what the float network says of them.
        settings: how to compare.
        say: is given one line per step.

    Raises:
        PageError: when ours cannot take part.
        IntegrityError: when our int8 gives other scores than the reference.
    """
    lined_up = Field()
    for build in builds:
        say(f"opening {build.identity.name}")
        try:
            lined_up.contenders.append(PageContender(page, build, settings.warmup))
        except PageError as error:
            if build.identity.ours:
                raise
            lined_up.absent.append(left_out(build, error))
    for contender in lined_up.contenders:
        name = contender.identity.name
        if contender.identity.ours and (mismatches := page.run(f"verify({json.dumps(name)})")):
            raise IntegrityError(f"{name}: {mismatches} images differ from the reference in Chromium.")
    say(f"{len(lined_up.contenders)} builds, {settings.rounds} rounds")
    before = os.getloadavg()
    times = measure_rounds(lined_up, settings)
    after = os.getloadavg()
    results: list[dict[str, Any]] = []
    logits = [it.logits for it in lined_up.contenders if isinstance(it, PageContender)]
    for contender, measured, scores in zip(lined_up.contenders, times, logits, strict=True):
        identity = contender.identity
        results.append(
            {
                "name": identity.name,
                "runtime": identity.runtime,
                "precision": identity.precision,
                "made_by": identity.made_by,
                "variant": contender.variant,
                "version": contender.version,
                "ours": identity.ours,
                **measured.to_dict(),
                "rounds_ms": [round(float(value), 6) for value in measured.of_rounds],
                "ratio": paired_ratio(times[0].of_rounds, measured.of_rounds) if results else None,
                "agreement": agreement(scores, logits[0], prepared.float_logits),
            }
        )
    run = {"threads": 1, "load_before": list(before), "load_after": list(after), "results": results}
    return run, lined_up.absent


def left_out(build: Build, error: PageError) -> dict[str, str]:
    """Return why a build of another runtime is not compared."""
    return {"name": build.identity.name, "reason": str(error).split("\\n")[0][:300], "command": ""}


def first_answers(page: Page, address: str, builds: Sequence[Build], visits: int) -> dict[str, Any]:
    """Return, for each build, how long a fresh page waits for its first answer, and what it downloads, by name.

    The time begins where the page asks for the runtime's own code, and ends with the scores of one image; every byte
    comes from this machine, uncompressed. Who cannot be opened is left out.

    Args:
        page: of a browser.
        address: of the folder.
        builds: which.
        visits: of the page, for each of them, in turns.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(visits + 1):  # the first one fills the caches of the operating system, and is not kept
        for build in builds:
            visit(page, address)
            try:
                started = page.run(f"start({build.options})")
            except PageError:
                if build.identity.ours:
                    raise
                continue
            if number:
                found.setdefault(build.identity.name, []).append(started)
    return {name: _summed_up(visited) for name, visited in found.items()}


def _summed_up(visited: Sequence[dict[str, Any]]) -> dict[str, Any]:
    times, files = [it["first_ms"] for it in visited], visited[0]["files"]
    downloads = [it["download_ms"] for it in visited if it["download_ms"] is not None]
    return {
        "visits": len(times),
        "min_ms": min(times),
        "median_ms": median(times),
        "max_ms": max(times),
        "download_ms": median(downloads) if downloads else None,
        "bytes": sum(size for _, size in files),
        "files": {name: size for name, size in files},
    }
