"""How a benchmark is run from the shell: its errors are those of `repghost`, and so are its exit codes."""

from __future__ import annotations

from pathlib import Path

import click

from repghost.cli import Failure
from repghost.errors import RepGhostError

output_option = click.option(
    "--output", "-o", default="build", show_default=True, type=click.Path(path_type=Path), help="The folder of builds."
)
docs_option = click.option(
    "--docs", default="docs", show_default=True, type=click.Path(path_type=Path), help="The folder to write."
)
python_option = click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The interpreter that has the other runtimes.",
)


def run_command(command: click.Command) -> None:
    """Run a command; an expected error becomes its message and its exit code."""
    try:
        command.main(standalone_mode=False)
    except RepGhostError as error:
        failure = Failure(str(error), error.exit_code)
        failure.show()
        raise SystemExit(failure.exit_code) from error
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error
    except click.Abort as error:
        raise SystemExit(130) from error


def say_progress(line: str) -> None:
    """Print a line of progress, beside the output."""
    click.echo(line, err=True)
