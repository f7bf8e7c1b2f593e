"""How a benchmark is run from the shell: its errors are those of `repghost`."""

from __future__ import annotations

import click

from repghost.cli import Failure
from repghost.errors import RepGhostError


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
