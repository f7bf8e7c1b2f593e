"""What runs found: `repghost.report`, the report of one run or the page over several, made from their JSON alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from compile.report.run_page import render_report
from compile.report.run_report import JSON_FILE, read_report
from compile.storage.strict_json import canonical_json, read_strict
from compile.subject.request import Request, SubjectRequest
from compile.summary.advice import advise
from compile.summary.collect import SIZE_LIMIT, collect, find_files
from compile.summary.compare import Margins, compare
from compile.summary.facts import FORMAT, Summary
from compile.summary.gate import gate_sentences
from compile.summary.output import NAME, is_summary, read_summary, render, write_all
from compile.summary.runs import plan_runs, run_all
from compile.targets.precisions import default_precisions, parse_precisions
from compile.tensorrt.report import read_page
from repghost.api.bundles import Say, as_path
from repghost.errors import AccuracyGateError, IntegrityError, UsageError

if TYPE_CHECKING:
    from repghost.api.compiled import CompiledBundle

MARGIN_POINTS, MARGIN_TIME = 0.1, 0.1  # that a new summary may be worse by: points of top-1, share of a time
RUN_FORMATS = ("md", "json")
RunLike: TypeAlias = "str | os.PathLike[str] | CompiledBundle"


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """A page on one run or on several.

    Attributes:
        single: the path of the only run; None for a page over several.
        summary: of several; None for one run.
        regressions: sentences on what became worse than an earlier page.
    """

    single: Path | None
    summary: Summary | None
    regressions: tuple[str, ...] = ()

    def render(self, format: str = "md") -> str:
        """Return the page.

        Args:
            format: "md", "csv", "html" or "json"; of one run "md" or "json".

        Raises:
            UsageError: for another format.
            IntegrityError: when the report of a run is not as its format says.
        """
        if self.summary is not None:
            return render(self.summary, format)
        assert self.single is not None
        return _run_page(self.single, format)

    def save(self, output: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write every format of a page over several runs into a folder, and return the files.

        Raises:
            UsageError: for one run, whose report.md lies in its folder.
        """
        if self.summary is None:
            raise UsageError(f"the report of one run lies in its folder already: {self.single}. Or give summary=True.")
        return tuple(write_all(self.summary, Path(output)))

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to choose by the measurements, and what changed."""
        if self.summary is None:
            return ()
        return (*(advice.sentence for advice in advise(self.summary)), *self.summary.comparison)

    def check(self, failures: Sequence[str] = ()) -> None:
        """Raise AccuracyGateError where a gate was missed, something became worse, or a run failed.

        Args:
            failures: sentences on runs that failed.
        """
        missed = gate_sentences(self.summary)[1] if self.summary is not None else []
        reasons = [*missed, *self.regressions, *failures]
        if reasons:
            raise AccuracyGateError(" ".join(reasons))

    @cached_property
    def _page(self) -> str:
        return self.render("md")

    def __repr__(self) -> str:
        return self._page

    def _repr_markdown_(self) -> str:
        return self._page

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        found: Mapping[str, Any] = json.loads(self.render("json"))
        return dict(found)


def report(
    paths: RunLike | Sequence[RunLike],
    *,
    max_drop: float | None = None,
    compare: str | os.PathLike[str] | None = None,
    margin_points: float = MARGIN_POINTS,
    margin_time: float = MARGIN_TIME,
    summary: bool = False,
) -> Report:
    """Return the report of a run, or one page over runs, benchmarks, counts and boards: which network for what.

    Args:
        paths: the folder of a run, or what `repghost.compile` returned; or several: folders of runs, the folder that
            holds them, and JSON of benchmarks.
        max_drop: points of top-1 that int8 may lose; `Report.check` raises where one loses more.
        compare: an earlier page's report.json; the sentences say what changed.
        margin_points: points of top-1 that may be lost against it.
        margin_time: share of a time that it may grow by.
        summary: make the page over several of a single run, too.

    Raises:
        UsageError: when there is nothing to report on.
        IntegrityError: when a report is damaged.
    """
    given: list[Any] = list(paths) if isinstance(paths, list | tuple) else [paths]
    places = tuple(Path(getattr(it, "folder", it)) for it in given)
    if not places:
        raise UsageError(
            "report on what? Give the folder of a run, or 'build' for all of them; 'repghost report --build' makes "
            "them."
        )
    if len(places) == 1 and compare is None and not summary and is_run(places[0]):
        return Report(places[0], None)
    found = _summarized(places, max_drop)
    earlier = as_path(compare)
    if earlier is None:
        return Report(None, found)
    differences = _compare(read_summary(earlier), found, Margins(points=margin_points, time=margin_time))
    sentences = tuple(item.sentence for item in differences) or ("Nothing changed.",)
    worse = tuple(item.sentence for item in differences if item.regression)
    return Report(None, replace(found, comparison=sentences), worse)


_compare = compare  # the name is an argument of `report`


def build_widths(output: Path, target: str, widths: str, subject: SubjectRequest, say: Say) -> list[str]:
    """Compile every width that has weights into a folder, and return a sentence for each that failed.

    Args:
        output: the folder that holds the runs.
        target: as `repghost.compile` takes it.
        widths: "all", or widths separated by commas.
        subject: weights and images of all of them.
        say: called with each line.
    """
    precisions = parse_precisions(default_precisions())
    base = Request(target=target, precisions=precisions, output=output, **vars(subject))
    return run_all(plan_runs(base, widths), say)


def is_run(path: Path) -> bool:
    """Return whether a folder is that of one run."""
    file = path / JSON_FILE
    if not file.is_file():
        return read_page(path) is not None
    return read_strict(file, SIZE_LIMIT).get("format") != FORMAT


def _run_page(path: Path, form: str) -> str:
    """Return the report of one run."""
    file = path / JSON_FILE
    if form not in RUN_FORMATS:
        raise UsageError(f"the report of one run is md or json, not {form}; add -o DIR for a page in every format.")
    if not file.is_file():
        return render(_summarized((path,), None), form) if form == "json" else read_page(path) or ""
    found = read_report(path)
    if form == "json":
        return canonical_json(found).decode()
    try:
        pages = (render_report(found), read_page(path))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(f"{file} is not as its format says ({type(error).__name__}: {error}).") from error
    return "\n".join(page for page in pages if page)


def _summarized(paths: tuple[Path, ...], max_drop: float | None) -> Summary:
    """Return the summary of the paths, or the one that the only path holds."""
    first = paths[0] / f"{NAME}.json" if paths[0].is_dir() else paths[0]
    if len(paths) == 1 and is_summary(first):
        summary = read_summary(first)
        return summary if max_drop is None else replace(summary, max_drop=max_drop)
    return collect(find_files(paths), max_drop)
