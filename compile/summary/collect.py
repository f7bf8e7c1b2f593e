"""From JSON files to one summary; inputs that do not belong together are named, never averaged."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from compile.machine.facts import describe_machine
from compile.storage.files import sha256
from compile.storage.strict_json import parse_strict
from compile.summary.facts import FORMAT, Detector, LayerRow, LayerTable, Missing, Network, Size, Source, Speed, Summary
from compile.summary.sources import File, Learned, Reader
from compile.summary.sources.readers import readers
from repghost.errors import IntegrityError, UsageError, command
from repghost.network.spec import WIDTHS
from repghost.untrusted import read_bounded

SIZE_LIMIT = 32 << 20  # bytes of one file
RUN_NAMES = ("report.json", "jetson.json", "jetson-measurement.json")  # looked for in the folders of runs
NAMES = (*RUN_NAMES, "performance.json", "baselines.json", "accuracy.json")

T = TypeVar("T", Network, Detector, Speed, Size, LayerTable)


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the JSON files that are meant: a file as it is, a folder's own ones, else those of its subfolders.

    Raises:
        UsageError: when there is none, or a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist. {_what_to_give()}")
        if path.is_file():
            found.append(path)
            continue
        here = [path / name for name in NAMES if (path / name).is_file()]
        found += here or sorted(item for name in NAMES for item in path.glob(f"*/{name}"))
    if not found:
        given = ", ".join(map(str, paths)) or "nothing"
        raise UsageError(f"no results in {given}. {_what_to_give()}")
    return list(dict.fromkeys(found))


def collect(paths: Sequence[Path], max_drop: float | None = None) -> Summary:
    """Read every file and return what they say together.

    Args:
        paths: from `find_files`.
        max_drop: percentage points of top-1 that int8 may lose.

    Raises:
        IntegrityError: naming a file that is damaged, of an unknown format, or of another version.
    """
    known, sources, learned = readers(), [], []
    for path in paths:
        data = read_bounded(path, SIZE_LIMIT, error=IntegrityError)
        values = parse_strict(data, str(path), SIZE_LIMIT)
        kind = values.get("format")
        if kind == FORMAT:
            continue  # an earlier summary is made of these very files
        if kind not in known:
            raise IntegrityError(f"{path} is {kind!r}; a summary is made from {', '.join(sorted(known))}.")
        facts = _read(File(values, str(path)), known[str(kind)])
        learned.append(facts)
        sources.append(Source(str(path), str(kind), sha256(data), facts.about))
    machine = describe_machine()
    return Summary(
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=f"{machine['core']}, {machine['cores']} cores, {machine['system']}",
        max_drop=max_drop,
        tools=_tools(learned),
        sources=tuple(sources),
        networks=_by_width(_joined(_distinct(item for facts in learned for item in facts.networks))),
        detectors=_distinct(item for facts in learned for item in facts.detectors),
        speeds=_distinct(item for facts in learned for item in facts.speeds),
        sizes=_distinct(item for facts in learned for item in facts.sizes),
        layers=_with_errors(_distinct(item for facts in learned for item in facts.layers)),
        missing=_missing(learned),
    )


def _missing(learned: Sequence[Learned]) -> tuple[Missing, ...]:
    """Return what is missing and that no file has, each once."""
    found = {what for facts in learned for what in facts.found}
    return tuple(dict.fromkeys(item for facts in learned for item in facts.missing if item.what not in found))


def _read(file: File, reader: Reader) -> Learned:
    """Return what a reader learns, or name the file that lacks something its format has."""
    try:
        return reader(file)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(f"{file.name} is not as its format says ({type(error).__name__}: {error}).") from error


def _tools(learned: Iterable[Learned]) -> dict[str, str]:
    """Return each tool's version; where files disagree, all of them."""
    found: dict[str, set[str]] = defaultdict(set)
    for facts in learned:
        for name, version in (facts.tools or {}).items():
            found[name].add(str(version))
    return {name: " and ".join(sorted(versions)) for name, versions in sorted(found.items())}


def _distinct(items: Iterable[T]) -> tuple[T, ...]:
    """Return the items without repetitions; of two that measure the same thing both stay, with their sources."""
    return tuple(dict.fromkeys(items))


def _joined(networks: Sequence[Network]) -> tuple[Network, ...]:
    """Return the networks; what several files say of one, evaluated on the same images with the same result, is joined.

    Files that disagree stay apart, for `find_conflicts` to name.
    """
    groups: dict[tuple[object, ...], list[Network]] = defaultdict(list)
    for index, network in enumerate(networks):
        known = network.data_sha256 and network.fp32
        key = (network.model, network.size, network.weights_sha256, network.data_sha256, network.fp32)
        groups[key if known else (index,)].append(network)
    return tuple(_join(sorted(group, key=lambda it: -len(it.methods))) for group in groups.values())


def _by_width(networks: Sequence[Network]) -> tuple[Network, ...]:
    """Return the networks from the narrowest RepGhostNet to the widest; what is none comes last."""
    widths = {row.name: index for index, row in enumerate(WIDTHS)}
    return tuple(sorted(networks, key=lambda network: (widths.get(network.model, len(widths)), network.model)))


def _join(group: Sequence[Network]) -> Network:
    """Return the first of a group with the methods that the others have besides."""
    methods = {method.program_digest or method.name: method for it in reversed(group) for method in it.methods}
    first = list(group[0].methods)
    more = [method for method in methods.values() if method not in first]
    return replace(group[0], methods=(*first, *more), source=", ".join(dict.fromkeys(it.source for it in group)))


def _with_errors(tables: Sequence[LayerTable]) -> tuple[LayerTable, ...]:
    """Return the tables, those that were counted with the error of each layer where a run of the same bundle has it."""
    errors: dict[tuple[str, str], float] = {}
    for table in tables:
        found = {(table.bundle_digest, row.name): row.sqnr_db for row in table.rows if row.sqnr_db is not None}
        errors.update(found if table.bundle_digest else {})

    def complete(table: LayerTable, row: LayerRow) -> LayerRow:
        known = errors.get((table.bundle_digest, row.name))
        return row if row.sqnr_db is not None or known is None else replace(row, sqnr_db=known)

    return tuple(replace(table, rows=tuple(complete(table, row) for row in table.rows)) for table in tables)


def find_conflicts(summary: Summary) -> list[str]:
    """Return a sentence for each pair of results that must not be put side by side without saying so."""
    found = []
    by_weights: dict[tuple[str, str, str], list[Network]] = defaultdict(list)
    for network in summary.networks:
        by_weights[network.model, network.weights_sha256, network.data].append(network)
    for (model, _, data), networks in by_weights.items():
        if len({network.data_sha256 for network in networks if network.data_sha256}) > 1:
            files = " and ".join(sorted({network.source for network in networks}))
            found.append(f"{model}: {files} evaluate the same weights on different pictures of {data!r}.")
        shares = {(network.data_sha256, network.fp32) for network in networks if network.fp32 is not None}
        if len(shares) > len({digest for digest, _ in shares}):
            files = " and ".join(sorted({network.source for network in networks}))
            found.append(f"{model}: {files} give different fp32 accuracies for the same weights and pictures.")
    return found


def _what_to_give() -> str:
    build = command("compile", target="arm64")
    return (
        f"'{build}' writes build/<model>-<size>px/report.json. Give such folders, the folder that holds them, or JSON "
        "files; 'repghost report --build' compiles first."
    )
