"""This host: our builds against the fastest other runtime, in the host's parts of docs/performance.json and .md.

Every width of RepGhostNet is one part, other mobile networks are another. Both resume: what was measured for the same
bundles is not measured again without --again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.pages.host import render_host, render_networks
from benchmarks.pages.summary import write_performance
from benchmarks.shared.command import docs_option, output_option, python_option, run_command, say_progress
from benchmarks.shared.comparing import Say, build_for_host, compare_on_host
from benchmarks.shared.documents import Markers, Section
from benchmarks.shared.goals import NETWORKS
from compile.bench.compare import Settings
from compile.storage.measurements import Measurements
from repghost.network.spec import WIDTHS, model_name, parse_width

HOST_SECTION = Section(
    key="host",
    markers=Markers("<!-- host: written by 'make bars' -->", "<!-- end of host -->", "the host's table belongs"),
    render=render_host,
)
NETWORKS_SECTION = Section(
    key="host_networks",
    markers=Markers(
        "<!-- networks: written by 'make network-bars' -->", "<!-- end of networks -->", "other networks' table belongs"
    ),
    render=render_networks,
)
THREADS = (1, 2)


def compare_widths(
    widths: list[float], output: Path, settings: Settings, store: Measurements, say: Say
) -> dict[str, Any]:
    """Return the "host" part of docs/performance.json: each width built and compared on this machine."""
    networks = []
    for width in widths:
        say(f"width {width:g}")
        bundles = build_for_host(model_name(width), output, store, say, width=str(width))
        networks.append({"width": width, **compare_on_host(bundles, settings, store, say)})
    return {"networks": networks}


def compare_networks(
    names: list[str], output: Path, settings: Settings, store: Measurements, say: Say
) -> dict[str, Any]:
    """Return the "host_networks" part of docs/performance.json: other networks of timm, as `compare_widths`."""
    networks = []
    for name in names:
        say(name)
        bundles = build_for_host(name, output, store, say, model=name)
        networks.append({"name": name, **compare_on_host(bundles, settings, store, say)})
    return {"networks": networks}


@click.command("host")
@output_option
@docs_option
@python_option
@click.option("--widths", default=",".join(f"{row.multiplier:g}" for row in WIDTHS), show_default=True)
@click.option("--networks", is_flag=False, flag_value=",".join(NETWORKS), help="timm's names, instead of widths.")
@click.option("--again", is_flag=True, help="Measure again what is there.")
def command(output: Path, docs: Path, python: Path | None, widths: str, networks: str | None, again: bool) -> None:
    """Measure int8 and fp32 on this machine against other runtimes, into docs/performance.md."""
    settings = replace(Settings(python=None if python is None else python.absolute()), threads=THREADS)
    store = Measurements(output / ".cache", again)
    if networks is None:
        chosen = [parse_width(width) for width in widths.split(",")]
        _write(docs, HOST_SECTION, compare_widths(chosen, output, settings, store, say_progress))
    else:
        _write(docs, NETWORKS_SECTION, compare_networks(networks.split(","), output, settings, store, say_progress))


def _write(docs: Path, section: Section, value: dict[str, Any]) -> None:
    write_performance(docs, section, value)
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
