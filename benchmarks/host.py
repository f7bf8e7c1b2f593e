"""This host: our builds against the fastest other runtime, in the host's parts of docs/performance.json and .md.

Every width of RepGhostNet is one part, other mobile networks are another. Both resume: what was measured for the same
bundles is not measured again without --again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.first_inference import measure_first_inference
from benchmarks.pages.host import host_says, render_host, render_networks
from benchmarks.pages.summary import write_performance
from benchmarks.shared.command import docs_option, output_option, python_option, run_command, say_progress
from benchmarks.shared.comparing import Say, build_for_host, compare_on_host, prepare_peers, usable_variants
from benchmarks.shared.documents import Markers, Section
from benchmarks.shared.goals import NETWORKS
from compile.bench.compare import Entry, Settings
from compile.bundle.manifest import Bundle
from compile.machine.facts import describe_machine
from compile.storage.measurements import Measurements
from repghost.network.spec import WIDTHS, model_name, parse_width

HOST_SECTION = Section(
    key="host",
    markers=Markers("<!-- host: written by 'make bars' -->", "<!-- end of host -->", "the host's table belongs"),
    render=render_host,
    says=host_says,
)
NETWORKS_SECTION = Section(
    key="host_networks",
    markers=Markers(
        "<!-- networks: written by 'make network-bars' -->", "<!-- end of networks -->", "other networks' table belongs"
    ),
    render=render_networks,
    says=host_says,
)
SPREAD = 0.03  # of a ratio: what the 95 % interval of our time to the fastest other may span
OF_WIDTHS = Settings(threads=(1, 2), spread=SPREAD)
# Of other networks the best instruction set is measured, at one thread; their inferences take up to 100 times as long.
OF_NETWORKS = Settings(spread=SPREAD, inferences=5, warmup=2)


def compare_widths(
    widths: list[float], output: Path, settings: Settings, store: Measurements, say: Say, prepare: bool = False
) -> dict[str, Any]:
    """Return the "host" part of docs/performance.json: each width built and compared on this machine.

    Args:
        widths: of RepGhostNet.
        output: the folder of builds.
        settings: how to compare.
        store: of earlier measurements.
        say: is given one line per step.
        prepare: whether to build and convert only; then nothing is measured.
    """
    networks = []
    for width in widths:
        say(f"width {width:g}")
        bundles = build_for_host(model_name(width), output, store, say, width=str(width))
        entries = [Entry(bundle, variant) for bundle in bundles for variant in usable_variants(bundle)]
        if prepare:
            prepare_peers(entries, settings, store, say)
            continue
        compared = compare_on_host(entries, settings, store, say)
        first = {str(bundle.manifest["precision"]): first_inference(bundle, store) for bundle in bundles}
        networks.append({"width": width, **compared, "first_answer": first})
    return {"networks": networks}


def first_inference(bundle: Bundle, store: Measurements) -> dict[str, Any]:
    """Return how long fresh processes wait for their first answer, measured once for a bundle and a core."""
    key = {"bundle": bundle.digest, "core": describe_machine()["core"]}
    return dict(store.record("first-inference", key, lambda: measure_first_inference(bundle)))


def compare_networks(
    names: list[str], output: Path, settings: Settings, store: Measurements, say: Say, prepare: bool = False
) -> dict[str, Any]:
    """Return the "host_networks" part of docs/performance.json: other networks of timm, as `compare_widths`."""
    networks = []
    for name in names:
        say(name)
        entries = [Entry(bundle) for bundle in build_for_host(name, output, store, say, model=name)]
        if prepare:
            prepare_peers(entries, settings, store, say)
        else:
            networks.append({"name": name, **compare_on_host(entries, settings, store, say)})
    return {"networks": networks}


@click.command("host")
@output_option
@docs_option
@python_option
@click.option("--widths", default=",".join(f"{row.multiplier:g}" for row in WIDTHS), show_default=True)
@click.option("--networks", is_flag=False, flag_value=",".join(NETWORKS), help="timm's names, instead of widths.")
@click.option("--again", is_flag=True, help="Measure again what is there.")
@click.option("--prepare", is_flag=True, help="Build the bundles and convert the networks; time and write nothing.")
def command(
    output: Path, docs: Path, python: Path | None, widths: str, networks: str | None, again: bool, prepare: bool
) -> None:
    """Measure int8 and fp32 on this machine against other runtimes, into docs/performance.md."""
    store, given = Measurements(output / ".cache", again), None if python is None else python.absolute()
    if networks is None:
        chosen = [parse_width(width) for width in widths.split(",")]
        settings, section = replace(OF_WIDTHS, python=given), HOST_SECTION
        value = compare_widths(chosen, output, settings, store, say_progress, prepare)
    else:
        settings, section = replace(OF_NETWORKS, python=given), NETWORKS_SECTION
        value = compare_networks(networks.split(","), output, settings, store, say_progress, prepare)
    if not prepare:
        write_performance(docs, section, value)
        click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
