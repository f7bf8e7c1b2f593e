"""Networks in headless Chromium, ours and other runtimes' in turns: docs/web.json and a section of docs/web.md.

It resumes: what was measured for the same bundles, browser and packages is not measured again without --again.

    {"format": "repghost-web", "version": 1, "packages": {...}, "networks": [{
        "name": "0.5x", "digests": {"int8": ..., "fp32": ...},
        "machine": ..., "browser": "HeadlessChrome/...", "settings": ..., "runs": [...], "absent": [...],
                                            as `repghost bench` writes them, with one entry in runs: one thread
        "first_answer": {"repghost int8": {"median_ms": ..., "bytes": ..., "files": {"/model.wasm": ...}, ...}, ...}
     }],
     "carried": {"name": ..., "files": {"model.wasm": bytes, ...}, "first_answer": ...}}
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from benchmarks.pages.web import render_web
from benchmarks.shared.browser import Browser, fetch_browser
from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import docs_option, output_option, python_option, run_command, say_progress
from benchmarks.shared.comparing import prepare_peers
from benchmarks.shared.documents import Markers, write_json
from benchmarks.shared.goals import SIZE
from benchmarks.web.compare import Say, compare_in_page, first_answers, open_page, visit
from benchmarks.web.contenders import RUNTIMES, lay_out_others, lay_out_ours
from benchmarks.web.packages import PACKAGES, install_packages
from compile.bench.compare import Entry, Settings
from compile.bench.peers import PEERS
from compile.bench.prepare_inputs import prepare
from compile.bundle.manifest import Bundle
from compile.machine.facts import cpu_flags, describe_machine
from compile.storage import formats
from compile.storage.code_key import files_digest
from compile.storage.measurements import Measurements
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP32, INT8, Precision
from compile.targets.table import WEB
from repghost.files import write_text_atomically
from repghost.network.spec import model_name

FORMAT, VERSION = formats.WEB
FILE, PAGE = "web.json", "web.md"
MARKERS = Markers(
    "<!-- browser: written by 'python -m benchmarks.web' -->", "<!-- end of browser -->", "the browser's table belongs"
)
NETWORKS = ("0.5", "1.0", "timm:mobilenetv2_100")
SETTINGS = Settings(rounds=60, spread=0.03, inferences=10, warmup=3)
VISITS = 9  # of a fresh page, for each build
CARRIED = "repghostnet_0_5x-64px"  # the folder of its run
TEST_IMAGES = 200  # of the bundled set: its accuracy is measured elsewhere
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """What measuring takes."""

    output: Path
    store: Measurements
    browser: Browser
    modules: Path
    settings: Settings
    visits: int
    say: Say


def build_for_web(work: Work, name: str) -> list[Bundle]:
    """Return the int8 and the fp32 bundle of a network of random weights for browsers.

    Args:
        work: where, and who is told.
        name: a width as "0.5", or a name as "timm:...".
    """
    width = None if ":" in name else name
    folder = random_folder(model_name(float(name)) if width else name.partition(":")[2], SIZE)
    asked = {"width": width} if width else {"model": name}
    return fresh_bundles(_request(work, (INT8, FP32), weights=RANDOM, size=SIZE, **asked), folder, work.store, work.say)


def _request(work: Work, precisions: tuple[Precision, ...], **subject: Any) -> Request:
    jobs = os.cpu_count() or 1
    return Request(
        target=WEB.name, precisions=precisions, output=work.output, fetch=False, host=False, jobs=jobs, **subject
    )


def compare_network(work: Work, name: str, prepare_only: bool) -> dict[str, Any] | None:
    """Return one entry of "networks"; None where everything was only made ready.

    Args:
        work: how, where and with what.
        name: see `build_for_web`.
        prepare_only: whether nothing is measured.
    """
    bundles = build_for_web(work, name)
    entries, peers = [Entry(bundle) for bundle in bundles], [PEERS[it] for it in RUNTIMES]
    files = Measurements(work.store.folder / "web")
    prepared = prepare_peers(entries, work.settings, files, work.say, peers)

    def compare() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="repghost-web-") as temporary:
            folder = Path(temporary) / "page"
            builds = lay_out_ours(folder, bundles, prepared)
            others, absent = lay_out_others(folder, prepared, work.modules, work.settings.python, work.say)
            builds += others
            with open_page(work.browser, folder, Path(temporary) / "profile") as (page, address):
                version = page.send("Browser.getVersion")["product"]
                work.say("first answers of fresh pages")
                first = first_answers(page, address, builds, work.visits)
                visit(page, address)
                run, failed = compare_in_page(page, builds, prepared, work.settings, work.say)
        return {
            "machine": describe_machine(),
            "browser": version,
            "settings": _settings(work, len(prepared.images)),
            "runs": [run],
            "absent": [*absent, *failed],
            "first_answer": first,
        }

    if prepare_only:
        return None
    digests = {str(bundle.manifest["precision"]): bundle.digest for bundle in bundles}
    shown = name.partition(":")[2] or f"{float(name):g}x"
    return {"name": shown, "digests": digests, **_measured(work, "web-compared", {"builds": digests}, compare)}


def measure_carried(work: Work, prepare_only: bool) -> dict[str, Any] | None:
    """Return "carried": the files of the bundled network's int8 build, and how long a page waits for its answer."""
    request = _request(work, (INT8,), test_images=TEST_IMAGES)
    (bundle,) = fresh_bundles(request, CARRIED, work.store, work.say)

    def measure() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="repghost-web-") as temporary:
            folder, inputs = Path(temporary) / "page", Path(temporary) / "inputs"
            inputs.mkdir()
            builds = lay_out_ours(folder, [bundle], prepare(bundle, inputs, None, cpu_flags()))
            with open_page(work.browser, folder, Path(temporary) / "profile") as (page, address):
                (first,) = first_answers(page, address, builds, work.visits).values()
        files = {name: entry["size"] for name, entry in bundle.manifest["files"].items()}
        return {"name": bundle.manifest["model"]["name"], "size": bundle.size, "files": files, "first_answer": first}

    return None if prepare_only else _measured(work, "web-carried", {"bundle": bundle.digest}, measure)


def _measured(work: Work, kind: str, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is known for the same builds, benchmark, browser, runtimes and machine, or measure it."""
    code = files_digest([path for path in HERE.rglob("*") if path.suffix in (".py", ".js", ".html")])
    browser = str(work.browser.program)
    runtimes = {"packages": PACKAGES, "python": str(work.settings.python)}
    own = {"code": code, "browser": browser, **runtimes, "core": describe_machine()["core"]}
    return dict(work.store.record(kind, {**key, **own, "settings": _settings(work, 0)}, measure))


def _settings(work: Work, pictures: int) -> dict[str, Any]:
    settings = work.settings
    named = {name: getattr(settings, name) for name in ("rounds", "spread", "inferences", "warmup")}
    return {**named, "batch": 1, "pictures": pictures, "visits": work.visits, "size": SIZE}


@click.command("web")
@output_option
@docs_option
@python_option
@click.option("--networks", default=",".join(NETWORKS), show_default=True, help="Widths, and names as timm:NAME.")
@click.option("--rounds", default=SETTINGS.rounds, show_default=True, help="At most so many.")
@click.option("--visits", default=VISITS, show_default=True, help="Of a fresh page, for each build.")
@click.option("--again", is_flag=True, help="Measure again what is there.")
@click.option("--prepare", "only_prepare", is_flag=True, help="Install, build and convert; measure and write nothing.")
def command(
    output: Path,
    docs: Path,
    python: Path | None,
    networks: str,
    rounds: int,
    visits: int,
    again: bool,
    only_prepare: bool,
) -> None:
    """Measure int8 and fp32 in headless Chromium against other runtimes, into docs/web.json and docs/web.md."""
    settings = replace(SETTINGS, rounds=rounds, python=None if python is None else python.absolute())
    page = docs / PAGE
    text = page.read_text() if page.is_file() else MARKERS.empty("In the browser")
    MARKERS.replace(text, "", str(page))  # what cannot be written is not measured
    store = Measurements(output / ".cache", again)
    work = Work(output, store, fetch_browser(), install_packages(output), settings, visits, say_progress)
    carried = measure_carried(work, only_prepare)
    found = []
    for name in networks.split(","):
        say_progress(name)
        found.append(compare_network(work, name, only_prepare))
    if only_prepare:
        return
    value = {"format": FORMAT, "version": VERSION, "packages": PACKAGES, "networks": found, "carried": carried}
    write_json(docs / FILE, value)
    write_text_atomically(page, MARKERS.replace(text, render_web(value), str(page)))
    click.echo(f"written: {docs / FILE} and {docs / PAGE}")


if __name__ == "__main__":
    run_command(command)
