"""A signal is noted, the run that stops for it gets the exit code of a shell, and handlers are as they were after."""

from __future__ import annotations

import signal

import pytest

from repghost.errors import RepGhostError, UsageError
from repghost.training.follow.signals import stop_on_signals


class StoppedError(RepGhostError):
    pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_is_its_exit_code(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(StoppedError) as caught, stop_on_signals(StoppedError) as should_stop:
        assert not should_stop()
        signal.raise_signal(number)
        assert should_stop()
        assert signal.getsignal(number) == before[number]  # a second one acts at once
        raise StoppedError("stopped.")
    assert caught.value.exit_code == 128 + number
    assert {each: signal.getsignal(each) for each in before} == before


def test_other_errors_keep_their_exit_code() -> None:
    with pytest.raises(UsageError) as caught, stop_on_signals(StoppedError):
        raise UsageError("wrong.")
    assert caught.value.exit_code == 2
