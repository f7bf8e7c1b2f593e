"""What `--processes` ends with where one of them fails: its own code, and no traceback of torchrun."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from repghost.distributed.launcher import main


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """torchrun leaves its handlers behind."""
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "code", "said"),  # torchrun makes one $ of two
    [("exit 0", 0, ""), ("exit 2", 2, ""), ("kill -9 $$$$", 1, "process 0 was ended by SIGKILL")],
)
def test_the_code_is_that_of_the_process(does: str, code: int, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--standalone", "--nproc-per-node=1", "--no-python", "sh", "-c", does]) == code
    errors = capfd.readouterr().err
    assert said in errors and "Traceback" not in errors and bool(errors) == bool(said)
