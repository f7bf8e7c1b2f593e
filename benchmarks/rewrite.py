"""docs/performance.md and docs/accuracy.md anew from their JSON: nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.arm64 import ARM64_SECTION
from benchmarks.armv7 import SECTION as ARMV7_SECTION
from benchmarks.compile_time import COMPILE_SECTION
from benchmarks.host import HOST_SECTION, NETWORKS_SECTION
from benchmarks.network_counts import SECTION as NETWORK_COUNTS_SECTION
from benchmarks.pages.summary import write_summary
from benchmarks.pool import POOL_SECTION
from benchmarks.shared.command import docs_option, run_command
from benchmarks.shared.documents import read_performance, write_section
from compile.accuracy.evidence import JSON_FILE, write_page

SECTIONS = (HOST_SECTION, NETWORKS_SECTION, POOL_SECTION, ARM64_SECTION, ARMV7_SECTION, NETWORK_COUNTS_SECTION,
            COMPILE_SECTION)  # fmt: skip
ACCURACY = (".", "imagenet-sample", "flowers")  # the folders in docs that have an accuracy.json


@click.command("rewrite")
@docs_option
def command(docs: Path) -> None:
    """Write the pages of performance and accuracy again from their JSON."""
    document = read_performance(docs)
    for section in (section for section in SECTIONS if section.key in document):
        write_section(docs, section, document[section.key])
    write_summary(docs)
    for folder in (docs / name for name in ACCURACY if (docs / name / JSON_FILE).is_file()):
        write_page(json.loads((folder / JSON_FILE).read_text()), folder)
    click.echo(f"written: the pages in {docs}")


if __name__ == "__main__":
    run_command(command)
