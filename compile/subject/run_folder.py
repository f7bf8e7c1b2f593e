"""The folder of a run: one run holds it at a time, and none takes it from a run of other weights or images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from compile.storage.strict_json import parse_strict
from compile.subject.request import Request
from compile.subject.subject import CARRIED_KIND, RANDOM, TIMM, FloatSubject, Subject
from repghost import bundled
from repghost.errors import IntegrityError, UsageError, option
from repghost.files import sweep
from repghost.locks import locked
from repghost.terminal import escape
from repghost.untrusted import read_bounded

MADE_OF = "made_of"  # the key of a report: where weights and images lay
REPORTS = ("report.json", "jetson.json")  # of the runs that share a folder
LIMIT = 32 << 20  # bytes of either
CARRIED = "the repository"  # where weights and images lie that nobody gave


def folder_of(request: Request, subject: Subject) -> Path:
    """Return where the files of a run go, e.g. build/repghostnet_0_5x-64px."""
    return request.output / (subject.folder if request.name is None else f"{subject.folder}-{request.name}")


def made_of(request: Request, subject: Subject) -> dict[str, str | None]:
    """Return where the weights and the images of a run lay, for its report; None for images that nobody gave."""
    weights, data = (None if str(given) == bundled.NAME else given for given in (request.weights, request.data))
    if weights is None and subject.weights["kind"] != CARRIED_KIND:
        return {"weights": f"{subject.weights['source']}, opened by a program", "data": None}
    if weights == RANDOM:
        weights = f"{RANDOM}, seed {request.seed}"
    elif weights not in (None, TIMM):
        weights = str(Path(str(weights)).resolve())
    carried = CARRIED if isinstance(subject, FloatSubject) and not subject.is_random else None
    return {"weights": weights or CARRIED, "data": str(Path(data).resolve()) if data else carried}


@contextmanager
def hold_folder(request: Request, subject: Subject, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder of a run until the run ends; wait for another run that holds it.

    Weights or images that changed where they lie replace the earlier run: it is the same command again.

    Args:
        request: what the user asked for.
        subject: the network and the images of the request.
        say: called with a line naming what this run waits for.

    Raises:
        UsageError: when the folder holds a run of weights or images that lay elsewhere.
    """
    folder = folder_of(request, subject)
    with locked(folder, say):
        for place in (folder, *folder.glob("[!.]*/")):  # the folder of a target has one for each precision
            sweep(place)
        _refuse_other(folder, made_of(request, subject), subject.digest)
        yield


def _refuse_other(folder: Path, mine: Mapping[str, str | None], digest: str) -> None:
    for earlier in _reports(folder):
        theirs, weights = earlier.get(MADE_OF), earlier.get("weights")
        if not isinstance(theirs, dict) or not isinstance(weights, dict):
            continue  # of an earlier version, which did not say
        same_weights = weights.get("sha256") == digest or theirs.get("weights") == mine["weights"]
        same_data = theirs.get("data") in (None, mine["data"]) or mine["data"] is None
        if not same_weights or not same_data:
            raise UsageError(
                f"{folder} holds a run of {_described(theirs)}; this one is of {_described(mine)}. Nothing was "
                f"changed. Give this run a name: {option('name', 'NAME')} makes {folder}-NAME. Or choose "
                f"another {option('output')}, or remove that folder."
            )


def _reports(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the reports of earlier runs; a damaged one is replaced by the next run."""
    for name in REPORTS:
        if (folder / name).is_file():
            with suppress(IntegrityError):
                yield parse_strict(read_bounded(folder / name, LIMIT, error=IntegrityError), name, LIMIT)


def _described(made: Mapping[str, object]) -> str:
    data = f" and pictures {escape(made['data'], 200)}" if made.get("data") else ""
    return f"weights {escape(made.get('weights'), 200)}{data}"
