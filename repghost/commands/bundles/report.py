"""`repghost report`: the report of one run, or the page over all widths, made from JSON alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from compile.summary.facts import Summary

FORMATS = ("md", "csv", "html", "json")


@click.command("report", short_help="One page: which width, at which precision, for which machine.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write every format into this folder.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="md", help="Of what is printed.  [default: md]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--max-drop", type=float, help="Exit code 3 where int8 loses more points of top-1.")
@click.option("--compare", "old", type=click.Path(path_type=Path), help="An earlier report.json; says what changed.")
@click.option("--margin-points", default=0.1, show_default=True, help="Top-1 that may be lost against --compare.")
@click.option("--margin-time", default=0.1, show_default=True, help="Share of a time that it may grow by.")
@click.option("--build", "build", is_flag=True, help="First compile every width that has weights; cached ones stay.")
@click.option("--target", default="arm64", show_default=True, help="Of --build, as in repghost compile.")
@click.option("--widths", default="all", show_default=True, help="Of --build, separated by commas.")
@click.option("--weights", help="Of --build: 'timm', 'random', a checkpoint or a folder of them.  [default: carried]")
@click.option("--data", type=click.Path(path_type=Path), help="Of --build: a set of pictures.  [default: carried]")
@click.option("--size", type=click.IntRange(32, 1024), help="Of --build: pixels.  [default: the weights' own]")
@click.option("--images", default=512, show_default=True, type=click.IntRange(1), help="Of --build: to calibrate with.")
@click.option("--test-images", type=click.IntRange(1), help="Of --build: judge by so many only.  [default: all]")
def command(
    paths: tuple[Path, ...], output: Path | None, form: str, as_json: bool, max_drop: float | None, old: Path | None,
    margin_points: float, margin_time: float, build: bool, target: str, widths: str, weights: str | None,
    data: Path | None, size: int | None, images: int, test_images: int | None,
) -> None:  # fmt: skip
    """Make one page of PATHS: folders of runs, the folder that holds them, JSON of benchmarks, counts and boards.

    A single folder of a run prints the report of that run. The page says what was measured where, and what was not,
    with the command that would. It is made from the JSON in PATHS and from nothing else; DIR/report.json holds all of
    it, and is itself a path to make the same page from.

    With --build each width is compiled first, into the first of PATHS. --weights may be a folder of checkpoints, one
    per width.
    """
    from repghost.errors import UsageError

    failures: list[str] = []
    if build:
        from compile.subject.request import Request
        from compile.summary.runs import plan_runs, run_all
        from compile.targets.precisions import default_precisions, parse_precisions

        paths = paths or (Path("build"),)
        request = Request(
            target=target,
            precisions=parse_precisions(default_precisions()),
            weights=weights,
            data=data,
            size=size,
            output=paths[0],
            calibration_images=images,
            test_images=test_images,
        )
        failures = run_all(plan_runs(request, widths), lambda line: click.echo(line, err=True))
    elif weights or data:
        raise UsageError("--weights and --data have no effect without --build; add it, or leave them out.")
    if not paths:
        raise UsageError("report on what? Give the folder of a run, or 'build' for all of them; --build makes them.")
    form = "json" if as_json else form
    if len(paths) == 1 and output is None and (single := _single_run(paths[0], form)):
        click.echo(single, nl=False)
        return
    summary = _summarize(paths, max_drop)
    summary, worse = _compared(summary, old, margin_points, margin_time)
    _show(summary, output, form)
    _end(summary, worse, failures)


def _single_run(path: Path, form: str) -> str | None:
    """Return the report of one run, or None where the path is something else."""
    from compile.report.run_page import render_report
    from compile.report.run_report import JSON_FILE, read_report
    from compile.storage.strict_json import canonical_json, parse_strict
    from compile.summary.collect import SIZE_LIMIT
    from compile.summary.facts import FORMAT
    from repghost.errors import IntegrityError, UsageError

    file = path / JSON_FILE
    if form == "md" and not file.is_file():
        return _jetson_page(path)
    if not file.is_file():
        return None
    if parse_strict(file.read_bytes(), str(file), SIZE_LIMIT).get("format") == FORMAT:
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
    import dataclasses

    from compile.summary.collect import collect, find_files
    from compile.summary.output import NAME, is_summary, read_summary

    first = paths[0] / f"{NAME}.json" if paths[0].is_dir() else paths[0]
    if len(paths) == 1 and is_summary(first):
        summary = read_summary(first)
        return summary if max_drop is None else dataclasses.replace(summary, max_drop=max_drop)
    return collect(find_files(paths), max_drop)


def _compared(summary: Summary, old: Path | None, points: float, time: float) -> tuple[Summary, list[str]]:
    """Return the summary with what changed since an earlier one, and what became worse."""
    import dataclasses

    from compile.summary.compare import Margins, compare
    from compile.summary.output import read_summary

    if old is None:
        return summary, []
    differences = compare(read_summary(old), summary, Margins(points=points, time=time))
    sentences = tuple(item.sentence for item in differences) or ("Nothing changed.",)
    return dataclasses.replace(summary, comparison=sentences), [d.sentence for d in differences if d.regression]


def _show(summary: Summary, output: Path | None, form: str) -> None:
    """Write or print the page."""
    from compile.summary.advice import advise
    from compile.summary.output import render, write_all

    if output is None:
        click.echo(render(summary, form), nl=False)
        return
    for path in write_all(summary, output):
        click.echo(f"written: {path}")
    for sentence in (*[advice.sentence for advice in advise(summary)], *summary.comparison):
        click.echo(sentence)


def _end(summary: Summary, worse: list[str], failures: list[str]) -> None:
    """Leave with code 3 where a gate was missed, something became worse, or a width failed."""
    from compile.summary.gate import gate_sentences
    from repghost.errors import AccuracyGateError

    _, missed = gate_sentences(summary)
    reasons = [*missed, *worse, *failures]
    if reasons:
        raise AccuracyGateError(" ".join(reasons))
