"""Programs that are measured in turns: each runs in a process of its own and waits while the others are measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compile.bench.peers import Form, Limit, Peer
from compile.bench.peers.inputs import PeerInputs
from compile.bench.prepare_inputs import VNNI
from compile.bundle.manifest import Bundle
from compile.storage.stage_cache import ROOT
from compile.targets.table import HOST, find_target
from repghost.errors import RepGhostError, ToolMissingError, option
from repghost.processes import END_LIMIT_S, end, kill, run_limited

PREPARATION_LIMIT = 900  # seconds; quantizers take a minute
TURN_LIMIT = 300  # seconds
PACKAGES = ("repghost", "calib", "compile")


class ContenderError(RepGhostError):
    """A runtime that cannot take part; the others are compared without it."""


@dataclass(frozen=True)
class Identity:
    """What is known about a contender besides its times."""

    name: str  # unique in one comparison, e.g. "openvino int8"
    runtime: str
    precision: str
    made_by: str  # where its numbers come from
    variant: str = ""  # the instruction set, where it was chosen
    ours: bool = False


class Contender:
    """A running process that answers each request for inferences with their milliseconds."""

    def __init__(self, identity: Identity, command: list[str], environment: dict[str, str], log: Path) -> None:
        """Start the process and wait until it is ready.

        Args:
            identity: what it is.
            command: the program; it prints one JSON object when ready, see `compile.bench.peers.worker`.
            environment: its environment variables.
            log: receives what it writes to standard error.

        Raises:
            ToolMissingError: when a package it needs is not installed.
            ContenderError: when it fails in any other way.
        """
        self.identity, self._log = identity, log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
        try:
            ready = self._answer(PREPARATION_LIMIT)
            if not isinstance(ready, dict) or "missing" in ready or "failed" in ready:
                raise self._refusal(ready)
        except RepGhostError:
            self.close()
            raise
        self.version = str(ready.get("version", ""))
        self.variant = str(ready.get("variant", identity.variant))

    def _refusal(self, answer: Any) -> RepGhostError:
        if isinstance(answer, dict) and "missing" in answer:
            return ToolMissingError(f"the Python package {answer['missing']!r} is not installed")
        reason = answer.get("failed") if isinstance(answer, dict) else f"it answered {str(answer)[:100]!r}"
        return ContenderError(f"{self.identity.name}: {reason}")

    def turn(self, inferences: int) -> list[float]:
        """Return the milliseconds of each of so many inferences, after the ones that are not timed.

        Raises:
            ContenderError: when the process ended or hung.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{inferences}\n")
            self._process.stdin.flush()
        except OSError:
            pass  # the process is gone; reading says so
        times = self._answer(TURN_LIMIT)
        if not isinstance(times, list) or len(times) != inferences:
            raise ContenderError(f"{self.identity.name} answered {str(times)[:100]!r} instead of {inferences} times.")
        return [float(time) for time in times]

    def _answer(self, limit: float) -> Any:
        """Return the JSON value on the next line; a process that takes longer than `limit` seconds is ended."""
        assert self._process.stdout is not None
        late, name = threading.Event(), self.identity.name

        def stop() -> None:
            late.set()
            self._process.kill()

        watchdog = threading.Timer(limit, stop)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        try:
            return json.loads(line)
        except ValueError:
            if line:
                raise ContenderError(f"{name} printed {line[:100]!r}") from None
        kill(self._process, END_LIMIT_S)
        if late.is_set():
            raise ContenderError(f"{name} did not answer within {limit:g} s and was stopped. Compare without it.")
        raise ContenderError(f"{name} ended with code {self._process.returncode}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def close(self) -> None:
        """End the process."""
        end(self._process, patience_s=5)


def start_ours(bundle: Bundle, variant: str | None, threads: int, warmup: int, folder: Path) -> Contender:
    """Start the runner of a bundle for this machine.

    Args:
        bundle: from `check_bundle`.
        variant: the instruction set; the best one by default.
        threads: how many share one inference.
        warmup: inferences at the start of each turn that are not timed.
        folder: for its log.
    """
    precision = str(bundle.manifest["precision"])
    name = f"repghost {precision}" + (f" {variant}" if variant else "")
    command = [str((bundle.path / "repghost-run").absolute()), "--bundle", str(bundle.path.absolute())]
    command += ["--bench", "--turns", "--threads", str(threads), "--warmup", str(warmup)]
    identity = Identity(name, "repghost", precision, "this bundle", variant or "", ours=True)
    log = folder / f"{name.replace(' ', '-')}.log"
    return Contender(identity, command + (["--variant", variant] if variant else []), dict(os.environ), log)


def peer_environment(threads: int, packages: Path) -> dict[str, str]:
    """Return the environment of a runtime: our packages in reach, its threads bounded, its telemetry off."""
    return {
        **os.environ,
        "PYTHONPATH": str(packages),
        "OMP_NUM_THREADS": str(threads),
        "CI": "true",  # OpenVINO's telemetry asks for this
        "NNCF_CI": "1",
    }


def link_packages(folder: Path) -> Path:
    """Return a folder that holds our packages and nothing else, for another interpreter to import."""
    place = folder / "packages"
    place.mkdir(parents=True)
    for package in PACKAGES:
        (place / package).symlink_to(ROOT / package, target_is_directory=True)
    return place


def peer_name(peer: Peer, form: Form, limit: Limit | None = None) -> str:
    """Return what a runtime is called in a comparison, e.g. "openvino int8 avx2"."""
    return " ".join((peer.name, form.name, *([limit.variant] if limit else [])))


def limited_inputs(inputs: PeerInputs, limit: Limit) -> PeerInputs:
    """Return what a runtime starts from that is held to an instruction set of this machine; the folder is made.

    Files that quantizers write depend on whether 8-bit products saturate, so they lie in a folder of their own.

    Args:
        inputs: of the runtime without a limit.
        limit: a row of the runtime.
    """
    flags = {flag for it in find_target(HOST).variant(limit.variant).requires for flag in it.cpuinfo}
    folder = inputs.folder / limit.variant
    if not folder.is_dir():
        link_packages(folder)
    return replace(inputs, folder=folder, saturates=not VNNI & flags)


def start_peer(
    peer: Peer,
    form: Form,
    inputs: PeerInputs,
    threads: int,
    warmup: int,
    python: Path | None = None,
    limit: Limit | None = None,
) -> Contender:
    """Start another runtime; the logits it gives lie at `logits_of` afterwards.

    Args:
        peer: a row of `compile.bench.peers.PEERS`.
        form: one of its forms.
        inputs: the network, in a folder `link_packages` was called for.
        threads: how many share one inference.
        warmup: inferences at the start of each turn that are not timed.
        python: the interpreter that has its packages; this one by default.
        limit: the instruction set it is held to; none by default.
    """
    held, variant = (f", held by {limit}", limit.variant) if limit else ("", "")
    identity = Identity(peer_name(peer, form, limit), peer.name, form.precision, form.made_by + held, variant)
    logits = logits_of(identity, inputs)
    if limit:
        inputs = limited_inputs(inputs, limit)
        if inputs.saturates and form.needs == "qdq":
            raise ContenderError(f"its 8-bit products saturate with {limit.variant}: our QDQ file is not made for that")
    settings = inputs.folder / "inputs.json"
    settings.write_text(inputs.to_json())
    arguments = [str(settings), peer.name, form.name, str(threads), str(warmup), str(logits)]
    command = [str(python or sys.executable), "-m", "compile.bench.peers.worker", *arguments]
    log = inputs.folder / f"{peer.name}-{form.name}-{threads}.log"
    environment = peer_environment(threads, inputs.folder / "packages") | dict(limit.switches if limit else ())
    return Contender(identity, command, environment, log)


def convert(peer: Peer, form: Form, inputs: PeerInputs, python: Path | None = None) -> Path:
    """Return a runtime's own file of the network, converted where it is not there, in a process of this machine.

    Args:
        peer: a row of `compile.bench.peers.PEERS`.
        form: one of its forms.
        inputs: see `start_peer`; the file lies in their folder, or is one of theirs.
        python: the interpreter that has its packages; this one by default.

    Raises:
        ToolMissingError: when a package it needs is not installed.
        RepGhostError: when it fails in any other way.
    """
    settings = inputs.folder / "inputs.json"
    settings.write_text(inputs.to_json())
    command = [str(python or sys.executable), "-m", "compile.bench.peers.prepare", str(settings), peer.name, form.name]
    environment = peer_environment(os.cpu_count() or 1, inputs.folder / "packages")
    said = ask(command, environment, PREPARATION_LIMIT, f"converting for {peer.name}")
    if "missing" in said:
        raise ToolMissingError(f"the Python package {said['missing']!r} is not installed; {peer.command(python)}")
    if "path" not in said:
        raise RepGhostError(f"the converter failed: {said.get('failed', said)}")
    return Path(str(said["path"]))


def ask(command: list[str], environment: dict[str, str], limit: float, what: str) -> dict[str, Any]:
    """Return the JSON object a process prints last.

    Args:
        command: the program and its arguments.
        environment: its environment variables.
        limit: seconds.
        what: it does, for messages.

    Raises:
        RepGhostError: when it prints something else.
    """
    done = run_limited(
        command, limit, name=what, advice=f"Compare without it ({option('against')}).", environment=environment
    )
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RepGhostError(f"{what} ended with code {done.returncode}: {words[-1][:300]}") from None
    if not isinstance(said, dict):
        raise RepGhostError(f"{what} said {str(said)[:100]!r}.")
    return said


def logits_of(identity: Identity, inputs: PeerInputs) -> Path:
    """Return where the logits of a runtime for the images are, float32 [N, classes], as .npy."""
    return inputs.folder / f"logits-{identity.name.replace(' ', '-')}.npy"
