"""Writes docs/api.md from the docstrings of the library's public names."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.pages.api import render_api
from benchmarks.shared.command import docs_option, run_command
from repghost.files import write_text_atomically
from repghost.terminal import say


@click.command()
@docs_option
def main(docs: Path) -> None:
    """Write docs/api.md."""
    write_text_atomically(docs / "api.md", render_api())
    say(f"written: {docs / 'api.md'}")


if __name__ == "__main__":
    run_command(main)
