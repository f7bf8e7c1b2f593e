"""A whole table in one command: what is built or measured already is not repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import repghost
from compile.storage.strict_json import canonical_json
from compile.subject.request import Request
from compile.targets.table import ARM64
from repghost.api.benchmarks import all_widths
from repghost.errors import DeviceUnreachableError, UsageError
from repghost.network.spec import WIDTHS
from tests.compile.deploy.test_parts import facts
from tests.support.submissions import latency

NARROW = [row.name for row in WIDTHS[:2]]


def write_run(output: Path, model: str, size: int = 224, name: str = "", target: str = "arm64") -> Path:
    """Write the report of a run with an int8 and a float32 build that nothing measured yet."""
    folder = output / f"{model}-{size}px{name}"
    builds = []
    for precision in ("int8", "fp32"):
        (folder / target / precision).mkdir(parents=True)
        (folder / target / precision / "manifest.json").write_bytes(b"{}")
        build = {"folder": f"{target}/{precision}", "target": target, "precision": precision, "program_digest": "p"}
        builds.append({**build, "bundle_digest": f"{model} {precision}", "latency": {"measured": False}})
    report = {"format": "repghost-report", "version": 1, "folder": str(folder), "builds": builds, "programs": {},
              "model": {"name": model}, "preprocess": {"size": size}}  # fmt: skip
    (folder / "report.json").write_bytes(canonical_json(report))
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, list[Any]]]:
    """What was built and measured, in place of doing it; the board is a Raspberry Pi 5."""
    found: dict[str, list[Any]] = {"built": [], "measured": []}

    def run_all(requests: list[Request], say: Any) -> list[str]:
        for request in requests:
            found["built"].append(request)
            (row,) = (row for row in WIDTHS if f"{row.multiplier:g}" == request.width)
            write_run(request.output, row.name, int(str(request.size)), "-random")
        return []

    def measure_on_boards(paths: list[Path], connections: Any, wanted: Any, say: Any) -> dict[str, Any]:
        (path,), (connection,) = paths, connections
        found["measured"].append(path)
        if len(found["measured"]) == found.get("breaks", [0])[0]:
            raise KeyboardInterrupt
        model, precision = path.parts[-3].partition("-")[0], path.name
        entry = {"board": str(connection.address), "bundle": str(path), "bundle_digest": f"{model} {precision}",
                 "model": model, "size": 224, "target": "arm64", "precision": precision, "measured": True,
                 "latencies": [latency(median_ms=8.0)]}  # fmt: skip
        return {"results": [entry]}

    monkeypatch.setattr("compile.deploy.ssh.connection.shutil.which", lambda name: "/usr/bin/ssh", raising=False)
    monkeypatch.setattr(all_widths, "probe", lambda _: facts())
    monkeypatch.setattr(all_widths, "run_all", run_all)
    monkeypatch.setattr(all_widths.measure, "measure_on_boards", measure_on_boards)
    monkeypatch.setattr("compile.report.add_measurement.render_report", lambda report: "page")
    yield found


def test_runs_are_taken_and_what_lacks_is_built(seen: dict[str, list[Any]], tmp_path: Path) -> None:
    trained = write_run(tmp_path, NARROW[0])
    write_run(tmp_path, NARROW[1], 64)  # of another size
    write_run(tmp_path, NARROW[1], name="-other", target="host")
    lines: list[str] = []
    found = repghost.bench((), on="pi@board", all_widths=True, output=tmp_path, say=lines.append)
    assert [request.width for request in seen["built"]] == [f"{row.multiplier:g}" for row in WIDTHS[1:]]
    assert {(it.target, it.weights, it.size, it.host, it.verify) for it in seen["built"]} == {
        (ARM64.name, "random", 224, False, False)
    }
    assert seen["measured"][:2] == [trained / "arm64/int8", trained / "arm64/fp32"] and len(seen["measured"]) == 16
    assert f"pi@board:repghost: 16 of 16, {seen['measured'][-1]}" in lines
    assert [line.split() for line in repr(found).split("\n")[1:3]] == [
        ["width", "int8,", "ms", "fp32,", "ms"], ["0.5x", "8.000", "8.000"],
    ]  # fmt: skip
    assert len(found.values["results"]) == 16 and found.failed == 0


def test_a_table_goes_on_where_it_stopped(seen: dict[str, list[Any]], tmp_path: Path) -> None:
    seen["breaks"] = [4]
    with pytest.raises(KeyboardInterrupt):
        repghost.bench((), on="board", all_widths=True, output=tmp_path)
    assert len(seen["measured"]) == 4 and len(seen["built"]) == 8
    lines: list[str] = []
    found = repghost.bench((), on="board", all_widths=True, output=tmp_path, say=lines.append)
    assert len(seen["built"]) == 8 and len(seen["measured"]) == 4 + 13 and len(found.values["results"]) == 16
    assert sum("as measured before" in line for line in lines) == 3
    repghost.bench((), on="board", all_widths=True, output=tmp_path, threads=2)
    repghost.bench((), on="board", all_widths=True, output=tmp_path, cores="4-7")
    repghost.bench((), on="other", all_widths=True, output=tmp_path)
    assert len(seen["measured"]) == 17 + 3 * 16, "other threads, other cores and another board are measured"
    report = tmp_path / "result.json"
    report.write_text(json.dumps(found.to_dict()))
    sent = repghost.submit(report, output=tmp_path / "boards")
    assert len(sent.values["results"]) == 16 and sent.values["board"] == "raspberry-pi-4"


def test_a_board_that_is_not_there_does_not_disturb_another(
    seen: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(connection: Any) -> Any:
        if connection.address.host == "gone":
            raise DeviceUnreachableError("gone cannot be reached: no route.")
        return facts(machine="vax" if connection.address.host == "old" else "aarch64")

    monkeypatch.setattr(all_widths, "probe", probe)
    found = repghost.bench((), on=["gone", "old", "board"], all_widths=True, output=tmp_path)
    assert found.failed == 2 and len(found.values["results"]) == 18
    assert [entry["exit_code"] for entry in found.values["results"][:2]] == [5, 2]
    with pytest.raises(repghost.errors.RepGhostError, match="2 of 18"):
        found.check()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on": "board", "bundle": "x"}, "leave bundles"),
        ({"on": "board", "accuracy": "pictures"}, "leave bundles"),
        ({"on": "board", "variants": ("dot", "neon")}, "further instruction sets"),
        ({}, "belongs to on="),
    ],
)
def test_what_says_otherwise_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        repghost.bench(**{"bundle": (), **options}, all_widths=True)
    with pytest.raises(UsageError, match="give a bundle's folder"):
        repghost.bench((), on="board")
