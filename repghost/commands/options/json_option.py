"""--json of commands whose result is often kept: printed, or written to a file beside the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from repghost.files import write_text_atomically
from repghost.terminal import say_page

STDOUT = Path("-")

json_option = click.option(
    "--json", "json_file", is_flag=False, flag_value=str(STDOUT), metavar="[FILE]", type=click.Path(path_type=Path),
    help="Print one JSON object and nothing else; with FILE, write it there and print the text.",
)  # fmt: skip


def write_json(values: dict[str, Any], file: Path | None) -> bool:
    """Write or print a result as JSON, where that was asked for; return whether that was all there is to print."""
    if file is not None:
        text = json.dumps(values, indent=2) + "\n"
        write_text_atomically(file, text) if file != STDOUT else say_page(text)
    return file == STDOUT
