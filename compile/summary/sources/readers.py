"""The table of readers: one row per format of file."""

from __future__ import annotations

from compile.summary.sources import (
    Reader,
    accuracy,
    baselines,
    board_latency,
    count,
    elsewhere,
    jetson,
    peer_count,
    performance,
    run,
    submission,
)


def readers() -> dict[str, Reader]:
    """Return the reader of each format."""
    return {
        run.FORMAT: run.read,
        performance.FORMAT: performance.read,
        performance.BENCH_FORMAT: performance.read_bench,
        accuracy.FORMAT: accuracy.read,
        baselines.FORMAT: baselines.read,
        board_latency.FORMAT: board_latency.read,
        count.FORMAT: count.read,
        peer_count.FORMAT: peer_count.read,
        jetson.FORMAT: jetson.read,
        jetson.CHECK_FORMAT: jetson.read_check,
        jetson.MEASUREMENT_FORMAT: jetson.read_measured,
        submission.FORMAT: submission.read,
        **dict.fromkeys(elsewhere.SHOWN, elsewhere.read),
    }
