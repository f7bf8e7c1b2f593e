"""Top-1 on a board itself: prepared images go to its runner over the same ssh, and their scores come back."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.bundle.manifest import Bundle
from compile.deploy.copy import RUNNER, SLOWEST_BYTES_PER_S
from compile.deploy.labelled_images import LabelledImages
from compile.deploy.probe import SLOWER_CLOCK
from compile.deploy.ssh.connection import Connection
from compile.deploy.verify_on_board import PATIENCE_S, why
from repghost.errors import IntegrityError
from repghost.evaluation.accuracy import wilson
from repghost.evaluation.predictor import REFERENCE
from repghost.terminal import escape
from repghost.untrusted import parse_json

STREAM = "--stream"  # the runner's option
BATCH_BYTES = 16 << 20  # of images in one command
WARMUP = 10
START_LIMIT_S, IMAGE_LIMIT_S = 60.0, 10.0  # of one command, and of each of its images
PERCENTILES = {"min_ms": 0.0, "median_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}


def evaluate_on_board(
    connection: Connection, bundle: Bundle, folder: str, labelled: LabelledImages, words: list[str],
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Return the accuracy and the times of a bundle on a board, JSON values; nothing is written there.

    Args:
        connection: to the board.
        bundle: what lies there.
        folder: where, below the board's folder.
        labelled: the images.
        words: further options of the runner.
        say: is told how far it is.

    Raises:
        IntegrityError: when scores differ from the reference in a bit, or the runner fails.
    """
    scores, times, ends = list[NDArray[np.float32]](), list[float](), list[dict[str, Any]]()
    for start, stop in _batches(labelled.images):
        batch = labelled.images[start:stop]
        answered = _stream(connection, bundle, folder, batch, words)
        scores.append(answered[0])
        times += answered[1]
        ends.append(answered[2])
        _compare(labelled, np.concatenate(scores), connection.address.destination)
        say(f"{connection.address}: {bundle.path}: {stop} of {len(labelled.images)} pictures evaluated there")
    right = int(np.count_nonzero(np.concatenate(scores).argmax(1) == labelled.labels))
    times.sort()
    states = [_state(ends[0]["before"]), *(_state(end["after"]) for end in ends)]
    return {
        **wilson(right, len(labelled.labels)).to_dict(),
        **labelled.about,
        "equal": None if labelled.expected is None else len(labelled.labels),
        "threads": ends[0]["threads"],
        "variant": escape(ends[0]["variant"], 40),
        **{name: times[int((len(times) - 1) * part)] for name, part in PERCENTILES.items()},
        "before": states[0],
        "after": states[-1],
        "throttled": _throttled(states),
    }


def _batches(images: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last place of each batch."""
    size = max(1, BATCH_BYTES // images[0].nbytes)
    for start in range(0, len(images), size):
        yield start, min(start + size, len(images))


def _stream(
    connection: Connection, bundle: Bundle, folder: str, images: NDArray[np.uint8], words: list[str]
) -> tuple[NDArray[np.float32], list[float], dict[str, Any]]:
    """Return the scores, the milliseconds and the last line of one command."""
    content = np.ascontiguousarray(images).tobytes()
    arguments = [STREAM, "--warmup", str(WARMUP), *words]
    seconds = START_LIMIT_S + IMAGE_LIMIT_S * len(images) + len(content) / SLOWEST_BYTES_PER_S
    values = {"folder": folder, "words": shlex.join(arguments), "seconds": int(seconds)}
    reply = connection.run("stream", values, content, seconds + PATIENCE_S)
    where = connection.address.destination
    if reply.status:
        old = " It was built before it could: build it again." if f"option {STREAM}" in reply.errors else ""
        raise IntegrityError(f"{RUNNER} {STREAM} of {bundle.path} failed on {where}: {why(reply, seconds)}{old}")
    *lines, last = reply.output.decode("utf-8", "replace").strip().split("\n")
    answers = [_answer(line, bundle.manifest["classes"], where) for line in lines]
    end = _object(last, where)
    if len(answers) != len(images) or end.get("pictures") != len(images) or not _is_end(end):
        raise IntegrityError(f"{RUNNER} on {where} answered {len(answers)} of {len(images)} pictures; try again.")
    return np.stack([scores for scores, _ in answers]), [ms for _, ms in answers], end


def _answer(line: str, classes: int, where: str) -> tuple[NDArray[np.float32], float]:
    """Return the scores and the milliseconds of one image."""
    value = _object(line, where)
    text, ms = value.get("scores"), value.get("infer_ms")
    try:
        scores = np.frombuffer(bytes.fromhex(str(text)), ">f4").astype(np.float32)
    except ValueError:
        scores = np.empty(0, np.float32)
    if len(scores) != classes or type(ms) not in (int, float) or not 0 <= float(str(ms)) < 1e7:
        raise IntegrityError(f"{RUNNER} on {where} printed no scores of {classes} classes, but {escape(line, 100)!r}.")
    return scores, float(str(ms))


def _object(line: str, where: str) -> dict[str, Any]:
    value = parse_json(line.encode(), f"the answer of {where}", error=IntegrityError)
    if not isinstance(value, dict):
        raise IntegrityError(f"{RUNNER} on {where} printed {escape(line, 100)!r}, which is no JSON object.")
    return value


def _is_end(end: dict[str, Any]) -> bool:
    """Return whether a line is the last one of the runner."""
    states = [end.get("before"), end.get("after")]
    kinds = type(end.get("threads")) is int and isinstance(end.get("variant"), str)
    return kinds and all(isinstance(it, dict) and set(it) == {"clock_khz", "temperature_c"} for it in states)


def _state(state: dict[str, Any]) -> dict[str, float | None]:
    """Return the clock and the temperature of a state; what is no number is not known."""
    clock, degrees = state["clock_khz"], state["temperature_c"]
    return {
        "clock_khz": clock if type(clock) is int and 0 < clock < 1 << 40 else None,
        "temperature_c": degrees if type(degrees) in (int, float) and abs(degrees) < 1000 else None,
    }


def _compare(labelled: LabelledImages, scores: NDArray[np.float32], where: str) -> None:
    """Refuse scores that are not the reference's, bit by bit."""
    if labelled.expected is None:
        return
    expected = labelled.expected[: len(scores)]
    wrong = np.flatnonzero((scores.view(np.uint32) != expected.view(np.uint32)).any(1))
    if len(wrong):
        raise IntegrityError(
            f"{where} gives other scores than the {REFERENCE} on {len(wrong)} of {len(scores)} pictures, the first is "
            f"{labelled.names[wrong[0]]}. Its memory or storage is failing, or the bundle was built wrongly: repghost "
            "verify BUNDLE"
        )


def _throttled(states: list[dict[str, float | None]]) -> bool | None:
    """Return whether the clock fell below what it was after the warm-up; None where the board does not say."""
    clocks = [clock for state in states if (clock := state["clock_khz"]) is not None]
    return None if len(clocks) < len(states) else min(clocks) < SLOWER_CLOCK * clocks[0]
