"""Measurements are made once, again where asked for or where they were damaged, and never where they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from compile.storage.measurements import RECORD, Measurements, NotMeasuredError


def test_a_measurement_is_made_once_again_when_asked_for_and_when_it_was_damaged(tmp_path: Path) -> None:
    made: list[int] = []

    def measure() -> dict[str, int]:
        made.append(1)
        return {"seconds": len(made)}

    store = Measurements(tmp_path)
    for _ in range(2):
        assert store.record("kind", {"a": 1}, measure) == {"seconds": 1}
    assert store.record("kind", {"a": 2}, measure) == {"seconds": 2}
    assert store.record("other", {"a": 1}, measure) == {"seconds": 3}
    assert Measurements(tmp_path, again=True).record("kind", {"a": 1}, measure) == {"seconds": 4}
    for path in tmp_path.glob(f"kind-*/{RECORD}"):
        path.write_bytes(b"damaged")
    assert store.record("kind", {"a": 1}, measure) == {"seconds": 5}
    assert len(made) == 5


def test_only_what_is_there_is_given_where_nothing_may_be_measured(tmp_path: Path) -> None:
    with pytest.raises(NotMeasuredError, match="without kept= measures it"):
        Measurements(tmp_path, kept=True).record("kind", {}, list)
    Measurements(tmp_path).record("kind", {}, list)
    assert Measurements(tmp_path, kept=True).record("kind", {}, list) == []
