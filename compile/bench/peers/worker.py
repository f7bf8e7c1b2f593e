"""A runtime in a process of its own, which measures on request.

    python -m compile.bench.peers.worker INPUTS.json PEER FORM THREADS WARMUP LOGITS.npy

It prepares the network, writes the logits of all images, prints one JSON object, and from then on answers each line
of standard input, the number of inferences of a turn, with a JSON array of their milliseconds: the protocol of
`repghost-run --bench --turns`. Each turn begins with WARMUP inferences that are not timed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np

from compile.bench.peers import PEERS, PeerModule, Session
from compile.bench.peers.inputs import PeerInputs


def claim_output() -> IO[str]:
    """Return what was standard output; whatever runtimes print there goes to standard error from now on."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def predict_images(session: Session, inputs: PeerInputs) -> np.ndarray[Any, Any]:
    """Return the logits of every image, float32 [N, classes].

    Raises:
        ValueError: for a runtime that computes none, as MNN does with its own int8 of ResNet-50.
    """
    logits = []
    for image in inputs.load_inputs():
        session.feed(np.ascontiguousarray(image[None]))
        session.run()
        logits.append(np.array(session.logits(), np.float32).reshape(-1))
    if not np.isfinite(logits).all():
        raise ValueError("its scores are not finite")
    return np.stack(logits)


def turn(session: Session, warmup: int, inferences: int) -> list[float]:
    """Return the milliseconds of each inference."""
    for _ in range(warmup):
        session.run()
    times = []
    for _ in range(inferences):
        start = time.perf_counter_ns()
        session.run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def package_version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def main(arguments: list[str]) -> int:
    """Serve turns until standard input ends; see the top of the file."""
    output = claim_output()
    inputs = PeerInputs.from_json(Path(arguments[0]).read_text())
    peer, form, threads, warmup = PEERS[arguments[1]], arguments[2], int(arguments[3]), int(arguments[4])

    def say(value: Any) -> None:
        print(json.dumps(value), file=output, flush=True)

    try:
        module: PeerModule = importlib.import_module(peer.module)
        session = module.open_session(module.prepare(inputs, form), inputs, form, threads)
        np.save(Path(arguments[5]), predict_images(session, inputs))
    except ModuleNotFoundError as error:
        say({"missing": error.name})
        return 4
    except Exception as error:  # a runtime may fail in any way; the others are still compared
        say({"failed": f"{type(error).__name__}: {error}"[:500]})
        return 1
    say({"ready": True, "version": package_version(peer.version_of)})
    for line in sys.stdin:
        say([round(milliseconds, 6) for milliseconds in turn(session, warmup, int(line))])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
