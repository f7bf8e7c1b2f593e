"""What somebody measured on a board and sent: a file of docs/boards, written by `repghost submit`."""

from __future__ import annotations

from compile.summary import submission
from compile.summary.facts import Speed
from compile.summary.sources import File, Learned
from compile.summary.submission import submission_of

FORMAT = submission.FORMAT


def read(file: File) -> Learned:
    """Return the latencies of a submission.

    Raises:
        IntegrityError: when it holds what no submission may hold.
    """
    sent = submission_of(dict(file.values), file.name)
    speeds = tuple(
        Speed(
            model=it.model, size=it.size, precision=it.precision, variant=it.variant, threads=it.threads,
            machine=sent.machine + (f", cores {it.cores}" if it.cores else ""), where="board", kind="measured",
            value=it.median_ms, unit="ms", low=it.min_ms, high=it.p90_ms, weights="unnamed", source=file.name,
        )
        for it in sent.results
    )  # fmt: skip
    return Learned(about=f"measured on {sent.machine} and sent on {sent.made}", speeds=speeds)
