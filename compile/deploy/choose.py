"""Which bundle of a run's folder suits a board: told by the cycle model where that is sure, else measured there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compile.bundle.manifest import MANIFEST, Bundle, check_bundle
from compile.cycles.boards import board_of
from compile.cycles.widths import Figure, figures
from compile.deploy.copy import RUNNER
from compile.deploy.fit import check_fit
from compile.deploy.gate import check_gate, refusal
from compile.deploy.install import DeploySettings
from compile.deploy.measure import BoardRun, core, latency_line, measure_on_board
from compile.deploy.probe import BoardFacts, probe
from compile.deploy.ssh.connection import Connection
from compile.targets.table import COUNTED, TARGETS
from repghost.errors import AccuracyGateError, RepGhostError, UsageError

SECONDS = 2  # of each measured candidate
WARMUP = 5


@dataclass(frozen=True)
class Choice:
    """The bundle to deploy, and why; "" for one that was given as it is."""

    path: Path
    why: str = ""


def choose_bundle(
    path: Path, connection: Connection, settings: DeploySettings, say: Callable[[str], None] = lambda line: None
) -> Choice:
    """Return the bundle to deploy: the given one, or of the folder of a run the fastest that the board may have.

    Args:
        path: the folder of a bundle, or of a run with bundles in it.
        connection: to the board.
        settings: what is demanded of a bundle.
        say: is told what is measured, and the choice.

    Raises:
        UsageError: when the folder holds no bundle that fits the board.
        AccuracyGateError: when those that fit have no passing accuracy record.
        DeviceUnreachableError: when the board cannot be reached.
        IntegrityError: when a bundle was changed, or the board does not verify it.
    """
    found = sorted(file.parent for file in path.glob(f"*/*/{MANIFEST}")) if path.is_dir() else []
    if not found or (path / MANIFEST).exists():
        return Choice(path)
    facts = probe(connection)
    fitting, reasons = _sorted_out([check_bundle(it) for it in found], facts, connection, settings)
    candidates = _one_for_each_precision(fitting, facts.target_name)
    left_out = f"; left out: {'; '.join(reasons)}" if reasons else ""
    if len(candidates) == 1:
        choice = Choice(candidates[0].path, f"the only one for {connection.address.destination}{left_out}")
    else:
        choice = _by_model(candidates, facts) or _by_measuring(candidates, connection, say)
        choice = Choice(choice.path, choice.why + left_out)
    say(f"choose   {choice.path.relative_to(path)}: {choice.why}")
    return choice


def _sorted_out(
    bundles: Sequence[Bundle], facts: BoardFacts, connection: Connection, settings: DeploySettings
) -> tuple[list[Bundle], list[str]]:
    """Return the bundles that the board may have, and a short reason for each that fits but may not be deployed.

    Raises:
        RepGhostError: when there is none, as the nearest one says it.
    """
    fitting, refused, reasons = list[Bundle](), list[RepGhostError](), list[str]()
    for bundle in bundles:
        if RUNNER not in bundle.manifest["files"]:
            refused.append(UsageError(f"{bundle.path} brings no runner; give it by itself, and the board builds it."))
            continue
        try:
            check_fit(bundle, facts, connection.address.destination)
            if not settings.accept_unmeasured:
                check_gate(bundle, settings.max_drop_points)
        except AccuracyGateError as error:
            refused.insert(0, error)
            why = refusal(bundle.manifest, settings.max_drop_points)
            reasons.append(f"{bundle.target_name}/{bundle.manifest['precision']}, since {why}")
        except UsageError as error:
            refused.append(error)
        else:
            fitting.append(bundle)
    if not fitting:
        raise refused[0]
    return fitting, reasons


def _one_for_each_precision(bundles: Sequence[Bundle], target_name: str) -> list[Bundle]:
    """Return one bundle for each precision: of several targets that a board runs its own comes first."""
    found: dict[str, Bundle] = {}
    for bundle in sorted(bundles, key=lambda it: it.target_name != target_name):
        found.setdefault(bundle.manifest["precision"], bundle)
    return list(found.values())


def _by_model(bundles: Sequence[Bundle], facts: BoardFacts) -> Choice | None:
    """Return the fastest by what is known of the network on the board; None where ranges overlap or it is not known."""
    board = board_of(core(facts))
    size = bundles[0].size
    if board is None or not isinstance(size, int) or not all(_is_estimated(it) for it in bundles):
        return None
    known: Mapping[tuple[str, str], Figure] = {(it.model, it.precision): it for it in figures(board, size)}
    keys = [(str(it.manifest["model"].get("name")), it.manifest["precision"]) for it in bundles]
    if not all(key in known for key in keys):
        return None
    first, second, *_ = sorted(zip(bundles, (known[key] for key in keys), strict=True), key=lambda pair: pair[1].ms)
    if first[1].high >= second[1].low:
        return None
    times = ", ".join(f"{key[1]} {known[key]} ms" for key in keys)
    return Choice(first[0].path, f"the fastest on {board.label} ({times}; docs/boards-model.md)")


def _is_estimated(bundle: Bundle) -> bool:
    """Return whether the code of a bundle is what the figures of boards are about: that of the first counted target."""
    target = TARGETS[bundle.target_name]
    return COUNTED.name in (target.name, target.board_target)


def _by_measuring(bundles: Sequence[Bundle], connection: Connection, say: Callable[[str], None]) -> Choice:
    """Return the fastest of a short measurement of each on the board."""
    times: dict[str, float] = {}
    for bundle in bundles:
        wanted = BoardRun(warmup=WARMUP, seconds=SECONDS)
        (latency,) = measure_on_board(bundle, connection, wanted)["latencies"]
        say(f"try      {bundle.target_name}/{bundle.manifest['precision']}: {latency_line(latency)}")
        times[bundle.manifest["precision"]] = latency["median_ms"]
    best = min(bundles, key=lambda it: times[it.manifest["precision"]])
    shown = ", ".join(f"{name} {ms:.3f} ms" for name, ms in times.items())
    return Choice(best.path, f"the fastest there, {SECONDS} s each: {shown}")
