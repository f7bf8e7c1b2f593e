"""docs/networks.md, made from docs/networks.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repghost.tables import make_table, markdown_lines

HEAD = """# Networks of others

Networks of timm and torchvision by name, at {size} x {size} pixels with random weights: imported, compared with
PyTorch, calibrated, compiled in int8, and each instruction set held to the bit against the numpy reference. `python -m
benchmarks.networks` wrote this page from docs/networks.json on {date}.

{imported} of {all} are imported, {verified} are compiled and verified on every target.
"""
HEADS = ("network", "#operators", "functions", "#difference from PyTorch", "compiled and verified")


def render_networks(value: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        value: what `benchmarks.networks` wrote.
    """
    networks = value["networks"]
    imported = [row for row in networks if row["difference"] is not None]
    verified = [row for row in networks if row["builds"] and all(build["verified"] for build in row["builds"])]
    head = HEAD.format(
        size=value["size"], date=value["date"], imported=len(imported), all=len(networks), verified=len(verified)
    )
    return "\n".join([head, *markdown_lines(make_table(HEADS, map(_row, networks))), ""])


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    functions = ", ".join(f"{count} {name}" for name, count in sorted(row["functions"].items()))
    difference = "" if row["difference"] is None else f"{row['difference']:.1e}"
    builds = ", ".join(f"{build['target']} {'yes' if build['verified'] else 'NO'}" for build in row["builds"])
    operators = str(sum(row["operators"].values())) if row["operators"] else ""
    return (
        row["name"],
        operators,
        functions,
        difference,
        (row["error"] or builds or "not run").removeprefix(f"{row['name']}: "),
    )
