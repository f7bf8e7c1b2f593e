from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compile import pipeline
from compile.storage.strict_json import canonical_json
from compile.subject.request import Request
from compile.summary import runs
from compile.summary.expected_time import Expected, duration, expect_time
from compile.summary.runs import plan_runs, run_all
from compile.targets.precisions import FP32, INT8
from repghost.errors import UsageError
from repghost.network.spec import WIDTHS
from tests.support.summary_cases import run_report


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Requests that reached the pipeline, which here writes a report and bundles of two bytes."""
    requests: list[Request] = []

    def run(request: Request, say: Any) -> dict[str, Any]:
        requests.append(request)
        if request.width == "1":
            raise UsageError("no such weights")
        report = run_report(f"repghostnet_{request.width}", 0.001, 1.0)
        folder = request.output / report["model"]["name"]
        for build in report["builds"]:
            (folder / build["folder"]).mkdir(parents=True, exist_ok=True)
            (folder / build["folder"] / "manifest.json").write_bytes(b"{}")
        report["folder"] = str(folder)
        (folder / "report.json").write_bytes(canonical_json(report))
        return report

    monkeypatch.setattr(pipeline, "run", run)
    return requests


def plan(weights: str | None, widths: str, output: Path) -> list[Request]:
    return plan_runs(Request("host", (INT8, FP32), weights=weights, output=output), widths)


def test_named_weights_mean_all_eight_widths(tmp_path: Path) -> None:
    planned = plan("timm", "all", tmp_path)
    assert [request.width for request in planned] == [f"{row.multiplier:g}" for row in WIDTHS]


def test_a_folder_of_checkpoints_is_one_run_each(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.pth", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [Path(str(r.weights)).name for r in plan(str(tmp_path), "all", tmp_path)] == ["a.safetensors", "b.pth"]


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no checkpoint"):
        plan(str(tmp_path), "all", tmp_path)


def test_widths_that_are_not_carried_need_weights(tmp_path: Path) -> None:
    assert len(plan(None, "0.5,1.0", tmp_path)) == 1
    with pytest.raises(UsageError, match="the bundled weights"):
        plan(None, "1.0", tmp_path)


def test_a_finished_width_is_not_repeated_and_a_failing_one_stops_no_other(tmp_path: Path, ran: list[Request]) -> None:
    lines: list[str] = []
    failures = run_all(plan("random", "0.5,1.0,2.0", tmp_path), lines.append)
    assert [request.width for request in ran] == ["0.5", "1", "2"]
    assert len(failures) == 1 and "no such weights" in failures[0]
    run_all(plan("random", "0.5,1.0,2.0", tmp_path), lines.append)
    assert [request.width for request in ran[3:]] == ["1"]  # the failed one alone is tried again


def test_a_changed_bundle_is_built_again(tmp_path: Path, ran: list[Request]) -> None:
    run_all(plan("random", "0.5", tmp_path), print)
    (tmp_path / "repghostnet_0.5" / "host" / "int8" / "manifest.json").write_bytes(b"[]")
    run_all(plan("random", "0.5", tmp_path), print)
    assert len(ran) == 2


def test_a_changed_image_means_another_run(tmp_path: Path, ran: list[Request]) -> None:
    data, output = tmp_path / "pictures", tmp_path / "build"
    data.mkdir()
    (data / "a.png").write_bytes(b"one")
    requests = plan_runs(Request("host", (INT8, FP32), weights="random", data=data, output=output), "0.5")
    run_all(requests, print)
    run_all(requests, print)
    assert len(ran) == 1
    (data / "b.png").write_bytes(b"two")
    run_all(requests, print)
    assert len(ran) == 2


@pytest.mark.slow
def test_how_long_it_takes_is_said_before_the_first_width(tmp_path: Path, ran: list[Request]) -> None:
    lines: list[str] = []
    request = Request("host", (INT8, FP32), output=tmp_path, calibration_images=20, test_images=30)
    run_all(plan_runs(request, "0.5"), lines.append)
    assert re.match(r"1 widths? will take about \d+ min .*: each is evaluated on 30, 20 calibrate", lines[0])
    run_all(plan_runs(request, "0.5"), lines.append)
    assert len(ran) == 1 and sum("will take" in line for line in lines) == 1, "nothing is left"
    found = [expect_time(plan_runs(replace(request, weights=w, test_images=n), "0.5,2.0")) for w, n in
             (("timm", 30), ("timm", 3000), ("random", 30), ("absent.pth", 30))]  # fmt: skip
    assert found[0] is not None and found[1] is not None and found[2:] == [None, None]
    assert found[0].seconds[0] < found[0].seconds[1] and found[0].seconds[1] < found[1].seconds[1]


def test_widths_that_are_done_correct_what_is_left(
    tmp_path: Path, ran: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    times = iter([0.0, 120.0, 200.0, 320.0, 400.0, 500.0])
    monkeypatch.setattr(runs, "expect_time", lambda requests: Expected((60.0, 60.0, 3600.0), (30, 20)))
    monkeypatch.setattr(runs.time, "monotonic", lambda: next(times))
    run_all(plan("timm", "0.5,1.0,2.0", tmp_path), lines.append)
    said = [line for line in lines if line.startswith(("3 widths", "== ")) and "failed" not in line]
    assert said[0].startswith("3 widths will take about 1 h on this machine")
    assert said[1:] == ["== timm 0.5x", "== timm 1x (about 2 h left)", "== timm 2x (about 2 h left)"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(3, "1 min"), (1500, "25 min"), (3599, "1 h"), (13200, "3 h 40 min"), (86400, "24 h")]
)
def test_times_are_said_roughly(seconds: float, said: str) -> None:
    assert duration(seconds) == f"about {said}"
