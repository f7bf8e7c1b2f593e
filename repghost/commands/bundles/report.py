"""`repghost report`: the report of one run, or the page over all widths, made from JSON only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compile.subject.request import SubjectRequest
from repghost.commands.options.data_options import class_options
from repghost.commands.options.gather import gather
from repghost.commands.options.size_option import SizeType
from repghost.errors import AccuracyGateError, IntegrityError, UsageError
from repghost.terminal import say, say_page

if TYPE_CHECKING:
    from compile.summary.facts import Summary

FORMATS = ("md", "csv", "html", "json")


@dataclass(frozen=True)
class ReportRequest:
    """The arguments and options of the command, each under its own name."""

    paths: tuple[Path, ...]
    output: Path | None
    form: str
    as_json: bool
    max_drop: float | None  # points
    old: Path | None
    margin_points: float
    margin_time: float  # share
    build: bool
    target: str
    widths: str


@click.command("report", short_help="One page: which width, at which precision, for which machine.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write every format into this folder.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="md", help="Of what is printed.  [default: md]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--max-drop", type=float, help="Exit code 3 where int8 loses more points of top-1.")
@click.option("--compare", "old", type=click.Path(path_type=Path), help="An earlier report.json; says what changed.")
@click.option("--margin-points", default=0.1, show_default=True, help="Top-1 that may be lost against --compare.")
@click.option("--margin-time", default=0.1, show_default=True, help="Share of a time that it may grow by.")
@click.option("--build", is_flag=True, help="First compile every width that has weights; cached ones stay.")
@click.option("--target", default="arm64", show_default=True, help="Of --build, as in repghost compile.")
@click.option("--widths", default="all", show_default=True, help="Of --build, separated by commas.")
@gather("subject", SubjectRequest, (
    click.option("--weights",
                 help="Of --build: 'timm', 'random', a checkpoint or a folder of them.  [default: carried]"),
    click.option("--data", type=click.Path(path_type=Path), help="Of --build: a set of pictures.  [default: carried]"),
    click.option("--size", type=SizeType(8), help="Of --build: pixels.  [default: the weights' own]"),
    click.option("--images", "calibration_images", default=512, show_default=True, type=click.IntRange(1),
                 help="Of --build: to calibrate with."),
    click.option("--test-images", type=click.IntRange(1), help="Of --build: judge by so many only.  [default: all]"),
    *class_options,
))  # fmt: skip
def command(subject: SubjectRequest, **options: Any) -> None:
    """Make one page of PATHS: folders of runs, the folder that holds them, JSON of benchmarks, counts and boards.

    A single folder of a run prints the report of that run. The page says what was measured where, and what was not,
    with the command that would. It is made from the JSON in PATHS and from nothing else; DIR/report.json holds all of
    it, and is itself a path to make the same page from.

    With --build each width is compiled first, into the first of PATHS. --weights may be a folder of checkpoints, one
    per width.
    """
    request = ReportRequest(**options)
    failures: list[str] = []
    paths = request.paths
    if request.build:
        paths = paths or (Path("build"),)
        failures = _build(request, subject, paths[0])
    elif subject.weights or subject.data or subject.class_order or subject.class_map:
        raise UsageError(
            "--weights, --data, --class-order and --class-map have no effect without --build; add it, or leave them "
            "out."
        )
    if not paths:
        raise UsageError("report on what? Give the folder of a run, or 'build' for all of them; --build makes them.")
    form = "json" if request.as_json else request.form
    if len(paths) == 1 and request.output is None and (single := _single_run(paths[0], form)):
        say_page(single)
        return
    summary = _summarize(paths, request.max_drop)
    summary, worse = _compared(summary, request)
    _show(summary, request.output, form)
    _end(summary, worse, failures)


def _build(request: ReportRequest, subject: SubjectRequest, output: Path) -> list[str]:
    """Compile every width that has weights into a folder; return a sentence for each that failed."""
    from compile.subject.request import Request
    from compile.summary.runs import plan_runs, run_all
    from compile.targets.precisions import default_precisions, parse_precisions

    precisions = parse_precisions(default_precisions())
    base = Request(target=request.target, precisions=precisions, output=output, **vars(subject))
    return run_all(plan_runs(base, request.widths), lambda line: say(line, err=True))


def _single_run(path: Path, form: str) -> str | None:
    """Return the report of one run, or None where the path is something else."""
    from compile.report.run_page import render_report
    from compile.report.run_report import JSON_FILE, read_report
    from compile.storage.strict_json import canonical_json, read_strict
    from compile.summary.collect import SIZE_LIMIT
    from compile.summary.facts import FORMAT

    file = path / JSON_FILE
    if form == "md" and not file.is_file():
        return _jetson_page(path)
    if not file.is_file():
        return None
    if read_strict(file, SIZE_LIMIT).get("format") == FORMAT:
        return None
    if form not in ("md", "json"):
        raise UsageError(f"the report of one run is md or json, not {form}; add -o DIR for a page in every format.")
    report = read_report(path)
    if form == "json":
        return canonical_json(report).decode()
    try:
        pages = (render_report(report), _jetson_page(path))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(f"{file} is not as its format says ({type(error).__name__}: {error}).") from error
    return "\n".join(page for page in pages if page)


def _jetson_page(path: Path) -> str | None:
    """Return the report of a run's bundle for Jetson, None where it has none."""
    from compile.tensorrt.report import read_page

    return read_page(path)


def _summarize(paths: tuple[Path, ...], max_drop: float | None) -> Summary:
    """Return the summary of the paths, or the one that the only path holds."""
    from compile.summary.collect import collect, find_files
    from compile.summary.output import NAME, is_summary, read_summary

    first = paths[0] / f"{NAME}.json" if paths[0].is_dir() else paths[0]
    if len(paths) == 1 and is_summary(first):
        summary = read_summary(first)
        return summary if max_drop is None else replace(summary, max_drop=max_drop)
    return collect(find_files(paths), max_drop)


def _compared(summary: Summary, request: ReportRequest) -> tuple[Summary, list[str]]:
    """Return the summary with what changed since an earlier one, and what became worse."""
    from compile.summary.compare import Margins, compare
    from compile.summary.output import read_summary

    if request.old is None:
        return summary, []
    margins = Margins(points=request.margin_points, time=request.margin_time)
    differences = compare(read_summary(request.old), summary, margins)
    sentences = tuple(item.sentence for item in differences) or ("Nothing changed.",)
    return replace(summary, comparison=sentences), [d.sentence for d in differences if d.regression]


def _show(summary: Summary, output: Path | None, form: str) -> None:
    """Write or print the page."""
    from compile.summary.advice import advise
    from compile.summary.output import render, write_all

    if output is None:
        say_page(render(summary, form))
        return
    for path in write_all(summary, output):
        say(f"written: {path}")
    for sentence in (*[advice.sentence for advice in advise(summary)], *summary.comparison):
        say(sentence)


def _end(summary: Summary, worse: list[str], failures: list[str]) -> None:
    """Leave with code 3 where a gate was missed, something became worse, or a width failed."""
    from compile.summary.gate import gate_sentences

    _, missed = gate_sentences(summary)
    reasons = [*missed, *worse, *failures]
    if reasons:
        raise AccuracyGateError(" ".join(reasons))
