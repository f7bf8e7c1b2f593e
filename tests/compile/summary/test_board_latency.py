"""JSON of `repghost bench --on`, and of the page for browsers, on the page over all widths."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from compile.storage.strict_json import canonical_json
from compile.summary.collect import collect
from compile.summary.facts import Summary
from repghost.errors import IntegrityError
from tests.support.submissions import CORE, bench_json


def collected(folder: Path, values: dict[str, Any]) -> Summary:
    file = folder / "latency.json"
    file.write_bytes(canonical_json(values))
    return collect([file])


def test_what_a_board_measured_is_one_more_machine(tmp_path: Path) -> None:
    found = collected(tmp_path, bench_json())
    (speed,) = found.speeds
    assert (speed.model, speed.size, speed.precision, speed.machine) == ("repghostnet_0_5x", 224, "int8", CORE)
    assert (speed.low, speed.value, speed.high, speed.unit, speed.where) == (7.5, 8.0, 9.0, "ms", "board")
    assert [it.what for it in found.missing if "no route to host" in it.what] != []


def test_what_was_measured_in_a_hidden_tab_is_missing(tmp_path: Path) -> None:
    values = bench_json()
    values["results"][0]["latencies"][0]["runner"]["hidden"] = True
    found = collected(tmp_path, values)
    assert found.speeds == ()
    assert any("hidden" in it.what for it in found.missing)


@pytest.mark.parametrize(
    ("key", "value"),
    [("median_ms", 0.0), ("median_ms", "8"), ("p90_ms", 1.0), ("min_ms", -1.0), ("threads", "1"), ("p90_ms", 1e9)],
)
def test_what_is_no_time_is_refused(tmp_path: Path, key: str, value: object) -> None:
    values = bench_json()
    values["results"][0]["latencies"][0][key] = value
    with pytest.raises(IntegrityError, match=r"latency\.json"):
        collected(tmp_path, values)


def test_words_of_a_file_are_made_safe_to_show(tmp_path: Path) -> None:
    values = copy.deepcopy(bench_json())
    values["results"][0]["latencies"][0]["core"] = "\x1b[31mred" + "x" * 500
    (speed,) = collected(tmp_path, values).speeds
    assert "\x1b" not in speed.machine and len(speed.machine) < 200
