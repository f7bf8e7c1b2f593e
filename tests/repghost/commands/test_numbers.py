"""Numbers on the command line are ASCII digits of a sensible count."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from repghost.cli import cli

ARABIC_HALF = "\u0660.\u0665"


@pytest.mark.parametrize("number", ["\u0661", "\u00b2", "9" * 5000, "1_0", "-1", "+1"])
@pytest.mark.parametrize(
    "arguments",
    [("bench", "absent", "--threads"), ("export", "absent", "out.onnx", "--batch")],
    ids=lambda words: words[0],
)
def test_other_digits_and_too_many_are_refused(arguments: tuple[str, ...], number: str) -> None:
    result = CliRunner().invoke(cli, [*arguments, number])
    assert result.exit_code == 2 and f"{arguments[-1]} takes" in result.output


def test_a_width_in_other_digits_is_none() -> None:
    result = CliRunner().invoke(cli, ["flops", ARABIC_HALF])
    assert result.exit_code == 2 and "unknown width" in result.output
