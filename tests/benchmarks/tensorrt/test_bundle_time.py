"""How long a bundle takes: the clocks are read from the line that says the network is quantized to the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.tensorrt import bundle_time

LINES = (("load", 1.0, 0.5), ("calibrate  3 s", 4.0, 2.0), ("write", 9.0, 3.5), ("written: x", 10.0, 5.0))


def test_the_time_begins_after_quantization(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"clock": 0.0, "processor": 0.0}
    asked: list[Any] = []

    def run(request: Any, say: Callable[[str], None]) -> None:
        asked.append(request)
        for line, now["clock"], now["processor"] in LINES:
            say(line)

    monkeypatch.setattr(bundle_time, "run", run)
    monkeypatch.setattr(bundle_time.time, "monotonic", lambda: now["clock"])
    monkeypatch.setattr(bundle_time.time, "process_time", lambda: now["processor"])
    record = bundle_time.time_bundle("0.5", 32)
    assert (record["width"], record["size"]) == ("0.5", 32) == (asked[0].width, asked[0].size)
    assert (record["seconds"], record["processor_seconds"]) == (6.0, 3.0)
    assert set(record["machine"]) == {"core", "cores", "system"} and len(record["load"]) == 2
