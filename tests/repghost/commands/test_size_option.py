"""--size takes pixels, or HEIGHTxWIDTH."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from repghost.cli import cli
from repghost.commands.options.size_option import SizeType
from tests.support.qdq_models import mini_net, save


@click.command()
@click.option("--size", type=SizeType(8, 1024))
def command(size: Any) -> None:
    click.echo(repr(size))


@pytest.mark.parametrize(
    ("text", "size"), [("64", "64"), ("96x160", "(96, 160)"), ("96x96", "96"), ("8x1024", "(8, 1024)")]
)
def test_sizes(text: str, size: str) -> None:
    assert CliRunner().invoke(command, ["--size", text]).output.strip() == size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7", "7 is not in the range 8 to 1024"), ("64x2000", "is not in the range"), ("5000", "from 1 to 4096"),
        ("96*160", "HEIGHTxWIDTH, e.g. 224 or 96x160; not '96*160'"), ("", "HEIGHTxWIDTH"), ("wide", "HEIGHTxWIDTH"),
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: str, words: str) -> None:
    done = CliRunner().invoke(command, ["--size", text])
    assert done.exit_code == 2 and words in done.output


def test_a_size_that_a_file_does_not_have(tmp_path: Path) -> None:
    path = save(mini_net((24, 40), channels=1), tmp_path)
    arguments = [
        "compile",
        "--target",
        "host",
        "--weights",
        str(path),
        "--size",
        "40x24",
        "-o",
        str(tmp_path / "build"),
    ]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert "is for 24x40 px, not 40x24; leave the size out, or give a file for 40x24 px" in done.output
