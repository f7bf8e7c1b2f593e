"""`repghost report`: the report of one run, or the page over all widths, made from JSON only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from compile.subject.request import SubjectRequest
from repghost.commands.options.data_options import class_options
from repghost.commands.options.gather import gather
from repghost.commands.options.size_option import SizeType
from repghost.errors import UsageError
from repghost.terminal import say, say_page

FORMATS = ("md", "csv", "html", "json")
SAID = 12  # sentences below the names of the files; the page has all of them


@dataclass(frozen=True)
class ReportRequest:
    """The arguments and options of the command, each under its own name."""

    paths: tuple[Path, ...]
    output: Path | None
    form: str
    as_json: bool
    max_drop: float | None  # points
    compare: Path | None
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
@click.option("--compare", type=click.Path(path_type=Path), help="An earlier report.json; says what changed.")
@click.option("--margin-points", default=0.1, show_default=True, help="Top-1 that may be lost against --compare.")
@click.option("--margin-time", default=0.1, show_default=True, help="Share of a time that it may grow by.")
@click.option("--build", is_flag=True, help="First compile every width that has weights; cached ones stay.")
@click.option("--target", default="arm64", show_default=True, help="Of --build, as in repghost compile.")
@click.option("--widths", default="all", show_default=True, help="Of --build, separated by commas.")
@gather("subject", SubjectRequest, (
    click.option("--weights",
                 help="Of --build: 'timm', 'random', a checkpoint or a folder of them.  [default: bundled]"),
    click.option("--data", type=click.Path(path_type=Path), help="Of --build: a set of pictures.  [default: bundled]"),
    click.option("--size", type=SizeType(8), help="Of --build: pixels.  [default: the weights' own]"),
    click.option("--images", "calibration_images", default=512, show_default=True, type=click.IntRange(1),
                 help="Of --build: to calibrate with."),
    click.option("--test-images", type=click.IntRange(1), help="Of --build: evaluate on so many only.  [default: all]"),
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
    from repghost.api.reports import report

    request = ReportRequest(**options)
    failures: list[str] = []
    paths = request.paths
    if request.build:
        paths = paths or (Path("build"),)
        failures = _build(request, subject, paths[0])
    else:
        _refuse_of_build()
    form = "json" if request.as_json else request.form
    found = report(
        paths,
        max_drop=request.max_drop,
        compare=request.compare,
        margin_points=request.margin_points,
        margin_time=request.margin_time,
        summary=request.output is not None,
    )
    if request.output is None:
        say_page(found.render(form))
    else:
        for path in found.save(request.output):
            say(f"written: {path}")
        for sentence in found.sentences[:SAID]:
            say(sentence)
        more = len(found.sentences) - SAID
        if more > 0:
            say(f"and {more} more; all of it is in {request.output / 'report.html'}")
    found.check(failures)


def _refuse_of_build() -> None:
    """Refuse what was given for compiling where nothing is compiled."""
    context = click.get_current_context()
    names = "target", "widths", *(field.name for field in fields(SubjectRequest))
    for option in context.command.params:
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option.opts[0]} has no effect without --build; add it, or leave it out.")


def _build(request: ReportRequest, subject: SubjectRequest, output: Path) -> list[str]:
    """Compile every width that has weights into a folder; return a sentence for each that failed."""
    from repghost.api.reports import build_widths

    return build_widths(output, request.target, request.widths, subject, lambda line: say(line, err=True))
