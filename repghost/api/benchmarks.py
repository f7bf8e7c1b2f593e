"""How fast a bundle is: `repghost.bench`, on this machine, on boards, or in executed instructions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bench.compare import Entry, Settings, run_bench
from compile.bench.compare_page import render_bench
from compile.bench.count import DEFAULT_CPU, CountRequest, count_bundle, find_cpu
from compile.bench.count_page import render_count, render_peer_counts
from compile.bench.count_peers import count_peers
from compile.bench.peers import PEERS, parse_peers
from compile.bench.prepare_inputs import prepare
from compile.bench.processes import link_packages
from compile.bench.profile import profile_bundle, render_profile
from compile.bundle.manifest import bundle_target, check_bundle
from compile.deploy import measure
from compile.machine.facts import cpu_flags
from compile.report.add_board_latency import add_to_reports
from repghost.api.bundles import CONNECT_LIMIT_S, BundleLike, Say, Ssh, as_path, as_paths, silent
from repghost.errors import RepGhostError, UsageError, unknown_value

ALL = "all"  # the other runtimes that are compared with by default
MOST_THREADS = 64


@dataclass(frozen=True, eq=False, repr=False)
class Benchmark:
    """What was measured of bundles.

    Attributes:
        values: JSON values, as `repghost bench --json` writes them.
        text: the same as tables.
    """

    values: Mapping[str, Any]
    text: str

    @property
    def failed(self) -> int:
        """How many measurements on boards failed; `values["results"]` says why."""
        return sum(not entry.get("measured", True) for entry in self.values.get("results", ()))

    def check(self) -> None:
        """Raise RepGhostError, with the code of the first failure, when a measurement on a board failed."""
        if self.failed:
            error = RepGhostError(f"{self.failed} of {len(self.values['results'])} measurements failed; see above.")
            error.exit_code = measure.result_code(self.values)
            raise error

    def __repr__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dict(self.values)


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `bench`, each under its own name."""

    paths: tuple[Path, ...]
    on: tuple[str, ...]
    against: str | None
    precision: tuple[str, ...]
    variants: tuple[str, ...]
    threads: tuple[int, ...]
    rounds: int
    inferences: int
    warmup: int
    weights: Path | None
    python: Path | None
    per_layer: bool
    keep: Path | None
    count: bool
    cpu: str | None
    seconds: int | None
    cores: str | None
    ssh: Ssh
    say: Say

    def only_bundle(self, option: str) -> Path:
        """Return the bundle of an option that measures one.

        Raises:
            UsageError: when there are none, several, or several instruction sets.
        """
        if len(self.paths) != 1 or len(self.variants) > 1:
            raise UsageError(f"{option} takes one bundle and at most one instruction set at a time.")
        return self.paths[0]

    @property
    def only_variant(self) -> str | None:
        """The instruction set of an option that measures one; None: the best."""
        return self.variants[0] if self.variants else None


def bench(
    bundle: BundleLike | Sequence[BundleLike],
    *,
    on: str | Sequence[str] | None = None,
    against: str | None = None,
    precision: str | Sequence[str] | None = None,
    variants: Sequence[str] = (),
    threads: int | Sequence[int] = 1,
    rounds: int = 30,
    inferences: int = 10,
    warmup: int = 3,
    weights: str | os.PathLike[str] | None = None,
    python: str | os.PathLike[str] | None = None,
    per_layer: bool = False,
    keep: str | os.PathLike[str] | None = None,
    count: bool = False,
    cpu: str | None = None,
    seconds: int | None = None,
    cores: str | None = None,
    ssh_config: str | os.PathLike[str] | None = None,
    port: int | None = None,
    connect_limit: int = CONNECT_LIMIT_S,
    say: Say = silent,
) -> Benchmark:
    """Measure bundles: against other runtimes on this machine, on boards, layer by layer, or in instructions.

    Args:
        bundle: a folder, what `repghost.compile` returned, or several of them; the first is compared with the others.
        on: boards as [user@]host: each bundle is proven and measured there, and the report of its run knows the
            latency.
        against: other runtimes, separated by commas, e.g. "onnxruntime"; None: all that are installed (none with
            `count`).
        precision: of the other runtimes, e.g. "fp32"; None: all.
        variants: instruction sets of the bundles; none: the best.
        threads: numbers of threads.
        rounds: turns of each runtime.
        inferences: timed in a turn.
        warmup: untimed before them.
        weights: the float network, where it does not lie beside the bundle.
        python: the interpreter that has the other runtimes.
        per_layer: measure each layer of one bundle instead.
        keep: with `per_layer`: where to leave the profiling bundle.
        count: count the executed instructions of an arm64 bundle under emulation.
        cpu: with `count`: cortex-a53, cortex-a72, cortex-a76 (None) or max.
        seconds: with `on`: measure so long, and keep the curve.
        cores: with `on`: stay on these cores of the board, e.g. "4-7".
        ssh_config: see `repghost.deploy`, as the next two.
        port: of the board's ssh server.
        connect_limit: seconds to wait for a board.
        say: is told each step.

    Raises:
        UsageError: when bundles cannot be compared, or an argument belongs to another way to measure.
        ToolMissingError: when nothing could be compared, or this machine does not run the bundle.
        IntegrityError: when a bundle was changed.
    """
    wanted = _Wanted(
        paths=as_paths(bundle),
        on=_names(on) or (),
        against=against,
        precision=_known_precisions(_names(precision) or ()),
        variants=tuple(variants),
        threads=_numbers(threads),
        rounds=rounds,
        inferences=inferences,
        warmup=warmup,
        weights=as_path(weights),
        python=_interpreter(as_path(python)),
        per_layer=per_layer,
        keep=as_path(keep),
        count=count,
        cpu=cpu,
        seconds=seconds,
        cores=cores,
        ssh=Ssh(ssh_config, port, connect_limit),
        say=say,
    )
    _check(wanted)
    return _choose(wanted)(wanted)


def _check(wanted: _Wanted) -> None:
    """Refuse arguments that belong to another way to measure.

    Raises:
        UsageError: naming the argument and what it belongs to.
    """
    if wanted.on:
        return
    if wanted.seconds is not None or wanted.cores is not None:
        raise UsageError("--seconds and --cores belong to --on; on this machine: repghost-run --bench --seconds N.")
    if not wanted.paths:
        raise UsageError("give the folder of a bundle, e.g. build/<model>/host/int8.")
    if wanted.cpu is not None and not (wanted.count or wanted.per_layer):
        raise UsageError(f"--cpu {wanted.cpu} belongs to --count; add it, or leave --cpu out.")
    if wanted.keep is not None and not wanted.per_layer:
        raise UsageError("--keep belongs to --per-layer; add it, or leave --keep out.")


def _choose(wanted: _Wanted) -> Callable[[_Wanted], Benchmark]:
    """Return the way to measure: the first whose argument was given."""
    rules = (
        (bool(wanted.on), _on_boards),
        (wanted.count and wanted.against is not None, _count_others),
        (wanted.count or (wanted.per_layer and wanted.cpu is not None), _count),
        (wanted.per_layer, _time_layers),
    )
    return next((way for asked, way in rules if asked), _compare)


def _compare(wanted: _Wanted) -> Benchmark:
    """Time bundles and other runtimes in turns on this machine."""
    chosen = parse_peers(wanted.against or ALL)
    settings = Settings(
        threads=wanted.threads,
        rounds=wanted.rounds,
        inferences=wanted.inferences,
        warmup=wanted.warmup,
        precisions=wanted.precision,
        python=wanted.python,
    )
    entries = _entries(wanted.paths, wanted.variants)
    with tempfile.TemporaryDirectory(prefix="repghost-bench-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(entries[0].bundle, folder, wanted.weights, cpu_flags())
        result = run_bench(entries, chosen, prepared, settings, wanted.say)
    return Benchmark(result, render_bench(result))


def _entries(paths: tuple[Path, ...], variants: tuple[str, ...]) -> list[Entry]:
    """Return the builds of bundles that are compared, the first one first.

    Raises:
        UsageError: when they are about different images or classes, or have no such instruction set.
    """
    checked = [check_bundle(path) for path in paths]
    for bundle in checked[1:]:
        if bundle.manifest["input"] != checked[0].manifest["input"] or bundle.labels() != checked[0].labels():
            raise UsageError(f"{bundle.path} takes other pictures or knows other classes than {checked[0].path}.")
    entries = []
    for bundle in checked:
        known = [str(name) for name in bundle.manifest["variants"]]
        entries += [Entry(bundle, name) for name in variants if name in known] if variants else [Entry(bundle)]
        for name in variants:
            if name not in {variant for it in checked for variant in it.manifest["variants"]}:
                raise unknown_value(f"variant of {bundle.path}", name, known)
    return entries


def _on_boards(wanted: _Wanted) -> Benchmark:
    """Prove and time bundles on boards, and add the latency to the reports of their runs."""
    boards = [wanted.ssh.connect(name) for name in wanted.on]
    if len(wanted.variants) > 1:
        raise UsageError("--on measures one instruction set at a time; give one --variant, or none for the best.")
    runs, warmup = wanted.rounds * wanted.inferences, wanted.warmup * wanted.inferences
    asked = measure.BoardRun(wanted.threads, runs, warmup, wanted.only_variant, wanted.seconds, wanted.cores)
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        wanted.say(line)

    result = measure.measure_on_boards(wanted.paths, boards, asked, tell)
    for folder in add_to_reports(result):
        tell(f"written: {folder / 'report.md'}")
    return Benchmark(result, "\n".join(lines))


def _time_layers(wanted: _Wanted) -> Benchmark:
    """Time each layer of a bundle; where this machine does not run it, count each layer."""
    path = wanted.only_bundle("--per-layer")
    target = bundle_target(check_bundle(path))
    if target.counted and not target.runs_here:
        return _count(wanted)
    runs = wanted.inferences * wanted.rounds
    result = profile_bundle(path, wanted.only_variant, runs, wanted.weights, wanted.keep, wanted.say)
    return Benchmark(result, render_profile(result))


def _count(wanted: _Wanted) -> Benchmark:
    """Count the instructions of one inference under emulation."""
    path, cpu = wanted.only_bundle("--count"), find_cpu(wanted.cpu or DEFAULT_CPU)
    asked = CountRequest(path, cpu, wanted.only_variant, wanted.per_layer, wanted.weights, wanted.keep)
    result = count_bundle(asked, wanted.say)
    return Benchmark(result, render_count(result))


def _count_others(wanted: _Wanted) -> Benchmark:
    """Count the instructions of other runtimes, their own wheels in an emulated Python."""
    path, cpu = wanted.only_bundle("--count"), find_cpu(wanted.cpu or DEFAULT_CPU)
    result = count_peers(path, parse_peers(wanted.against or ""), cpu, wanted.weights, wanted.python, wanted.say)
    return Benchmark(result, render_peer_counts(result))


def _names(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return names that were given one by one, or in a text separated by commas."""
    if given is None:
        return None
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(name.strip() for name in parts)


def _numbers(threads: int | Sequence[int]) -> tuple[int, ...]:
    """Return numbers of threads.

    Raises:
        UsageError: for anything but whole numbers from 1 to 64.
    """
    given = (threads,) if isinstance(threads, int) else tuple(threads)
    if not given or not all(type(number) is int and 1 <= number <= MOST_THREADS for number in given):
        raise UsageError(f"threads are whole numbers from 1 to {MOST_THREADS}, e.g. 1 or [1, 2], not {threads!r:.80}.")
    return tuple(dict.fromkeys(given))


def _known_precisions(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the precisions of other runtimes.

    Raises:
        UsageError: for a name no runtime has.
    """
    known = dict.fromkeys(form.precision for peer in PEERS.values() for form in peer.forms)
    names = tuple(name for name in names if name)
    for name in names:
        if name not in known:
            raise unknown_value("precision", name, known)
    return names


def _interpreter(python: Path | None) -> Path | None:
    """Return the Python that has the other runtimes, as a path that holds in every folder.

    Raises:
        UsageError: when there is no such file.
    """
    if python is not None and not python.is_file():
        raise UsageError(f"{python} is no file; give an interpreter, e.g. peers/bin/python.")
    return None if python is None else python.absolute()
