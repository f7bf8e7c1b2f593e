from __future__ import annotations

from benchmarks.tensorrt.bundle_time import time_bundle


def test_the_time_begins_after_quantization() -> None:
    record = time_bundle("0.5", 32)
    assert (record["width"], record["size"]) == ("0.5", 32)
    assert 0 < record["processor_seconds"] < record["limit_seconds"] and record["seconds"] > 0
    assert set(record["machine"]) == {"core", "cores", "system"} and len(record["load"]) == 2
