"""`repghost report`: print the report of a run, made from its JSON alone."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("report", short_help="Print the report of a run again.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of the page.")
def command(folder: Path, as_json: bool) -> None:
    """Print the report in FOLDER, e.g. build/repghostnet_0_5x-64px."""
    from compile.report import read_report
    from compile.report_page import render_report

    report = read_report(folder)
    click.echo(json.dumps(report, sort_keys=True) if as_json else render_report(report), nl=as_json)
