"""`repghost doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import json

import click


@click.command("doctor", short_help="Say what is installed, what is missing and how to get it.")
@click.option("--fetch", is_flag=True, help="Fetch an emulator when there is none (Debian, Ubuntu; no root).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(fetch: bool, as_json: bool) -> None:
    """Check everything that 'make compile' and 'make test' use. Exit code 4: something needed is missing."""
    from compile.doctor import diagnose
    from compile.emulator import fetch_emulator
    from repghost.errors import ToolMissingError

    if fetch:
        fetch_emulator()
    findings = diagnose()
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings]))
    else:
        for finding in findings:
            click.echo(f"{finding.mark:<8} {finding.name:<14} {finding.found}")
            if finding.remedy:
                click.echo(f"{'':<23} {finding.remedy}")
    missing = [finding.name for finding in findings if finding.mark == "missing"]
    if missing:
        raise ToolMissingError(f"needed and missing: {', '.join(missing)}.")
