"""What somebody measured on a board, as one small JSON to send: figures, and nothing that says whose board it is.

There is no free text in it: every text is a word of a table, or has a pattern of its own. A key that is not listed
here, or a text that is neither, is refused by name when a file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compile.cycles.boards import BOARDS
from compile.deploy.probe import ARM_PARTS
from compile.storage.formats import SUBMISSION
from compile.storage.strict_json import read_strict
from compile.storage.typed_json import read_record
from compile.summary.published import published_figures
from compile.targets.precisions import PRECISIONS
from compile.targets.table import COUNTED, TARGETS
from repghost.errors import IntegrityError

FORMAT, VERSION = SUBMISSION
LIMIT = 1 << 18  # bytes of a file
OTHER = "other"  # a board that is no row of the table; its chip says which it is
GOVERNORS = ("", "performance", "powersave", "ondemand", "conservative", "schedutil", "interactive", "userspace")
CHIP = re.compile(r"(?:[a-z0-9]{2,20},[a-z0-9][a-z0-9-]{1,30})?")
CORES = re.compile(r"[0-9,-]{0,40}")
DATE = re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]")
RELEASE = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,2}")
VARIANTS = tuple(dict.fromkeys(variant.name for target in TARGETS.values() for variant in target.variants))


@dataclass(frozen=True)
class Judged:
    """Top-1 measured on the board itself; the published schema of submissions has this name.

    Attributes:
        pictures: that were classified there.
        correct: of them.
        equal: of them, those whose scores are the host's reference to the bit; None where there was none.
    """

    pictures: int
    correct: int
    equal: int | None


@dataclass(frozen=True)
class Result:
    """One measured build.

    Attributes:
        model: a network whose figures are published.
        size: pixels of its square input.
        target: the row of `TARGETS` it was built for.
        precision: of the build.
        variant: the instruction set.
        threads: of an inference.
        cores: the list it was kept on; "" for all.
        runs: measured inferences.
        min_ms, median_ms, p90_ms: of one inference.
        throttled: whether the clock fell; None where the board does not say.
        clock_mhz: before and after; None where the board does not say.
        celsius: before and after.
        accuracy: None where it was not measured there.
    """

    model: str
    size: int
    target: str
    precision: str
    variant: str
    threads: int
    cores: str
    runs: int
    min_ms: float
    median_ms: float
    p90_ms: float
    throttled: bool | None
    clock_mhz: tuple[int | None, int | None]
    celsius: tuple[float | None, float | None]
    accuracy: Judged | None

    @property
    def is_counted(self) -> bool:
        """Whether it is of the family whose figures are estimated where nobody measured."""
        return COUNTED.name in (self.target, TARGETS[self.target].board_target)


@dataclass(frozen=True)
class Submission:
    """What one board measured.

    Attributes:
        board: a row of `BOARDS`, or "other".
        chip: the last name of its device tree, e.g. "rockchip,rk3566"; "" where it has none.
        core: e.g. "Cortex-A72"; "" where it is not known.
        governor: of the clock; "" where it is not known.
        made: the day, e.g. "2026-11-30".
        release: of the program that measured.
        results: at least one.
    """

    board: str
    chip: str
    core: str
    governor: str
    made: str
    release: str
    results: tuple[Result, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @property
    def machine(self) -> str:
        """What `Board.is_machine` reads."""
        known = BOARDS.get(self.board)
        names = (known.known_as if known else "", f"[{self.chip}]" if self.chip else "", self.core)
        return " ".join(name for name in names if name) or self.board


def read_submission(path: Path) -> Submission:
    """Return the submission in a file.

    Raises:
        IntegrityError: for another format or version, an unknown or missing key, or a value that may not be there.
    """
    return submission_of(read_strict(path, LIMIT), str(path))


def submission_of(values: dict[str, Any], name: str) -> Submission:
    """Return a submission from its JSON (errors as `read_submission`); `name` is what messages call the file."""
    found = (values.get("format"), values.get("version"))
    if found != SUBMISSION:
        raise IntegrityError(f"{name} is {found[0]!r:.40} of version {found[1]!r:.20}, no {FORMAT} of {VERSION}.")
    body = {key: value for key, value in values.items() if key not in ("format", "version")}
    submission = read_record(body, Submission, name)
    for problem in _problems(submission):
        raise IntegrityError(f"{name}: {problem}. A submission holds figures and no words of its own.")
    return submission


def _problems(it: Submission) -> Iterator[str]:
    """Yield a sentence for each value that a submission may not hold."""
    yield from _not_in("board", it.board, (*BOARDS, OTHER))
    yield from _not_in("core", it.core, ("", *ARM_PARTS.values()))
    yield from _not_in("governor", it.governor, GOVERNORS)
    for name, text, pattern in (("chip", it.chip, CHIP), ("made", it.made, DATE), ("release", it.release, RELEASE)):
        if not pattern.fullmatch(text):
            yield f"{name} is {text!r:.80}, which is none"
    if it.board == OTHER and not (it.chip or it.core):
        yield "neither board nor chip nor core says what was measured"
    if not it.results:
        yield "results is empty"
    for index, result in enumerate(it.results):
        for problem in _result_problems(result):
            yield f"results[{index}].{problem}"


def _result_problems(it: Result) -> Iterator[str]:
    yield from _not_in("model", it.model, published_figures())
    yield from _not_in("target", it.target, TARGETS)
    yield from _not_in("precision", it.precision, PRECISIONS)
    yield from _not_in("variant", it.variant, VARIANTS)
    if not CORES.fullmatch(it.cores):
        yield f"cores is {it.cores!r:.80}, which is no list of cores"
    if not (8 <= it.size <= 4096 and 1 <= it.threads <= 64 and 1 <= it.runs <= 10**8):
        yield f"size, threads or runs is out of range: {it.size}, {it.threads}, {it.runs}"
    if not 0 < it.min_ms <= it.median_ms <= it.p90_ms < 1e7:
        yield f"min_ms, median_ms and p90_ms are no times in order: {it.min_ms:g}, {it.median_ms:g}, {it.p90_ms:g}"
    if not all(value is None or 1 <= value <= 10_000 for value in it.clock_mhz):
        yield f"clock_mhz is out of range: {it.clock_mhz}"
    if not all(value is None or -60 <= value <= 200 for value in it.celsius):
        yield f"celsius is out of range: {it.celsius}"
    accuracy = it.accuracy
    if accuracy is not None and not 0 <= max(accuracy.correct, accuracy.equal or 0) <= accuracy.pictures <= 10**7:
        yield f"accuracy counts more than there are pictures: {accuracy}"


def _not_in(name: str, value: str, allowed: Any) -> Iterator[str]:
    if value not in allowed:
        yield f"{name} is {value!r:.80}, which is no word of its table"
