"""Fetch what the tests use beside Python packages, without root: an emulator, an ssh server, a browser.

    python -m tests.support.fetch

What cannot be had is named on stderr; the tests that need it are skipped.
"""

from __future__ import annotations

import sys

from compile.machine.emulator import fetch_emulator
from repghost.errors import ToolMissingError
from tests.support.browser import fetch_browser
from tests.support.ssh_server import fetch_ssh_server


def main() -> None:
    """Fetch each of them, or say why it is not to be had."""
    for fetch in (fetch_emulator, fetch_ssh_server, fetch_browser):
        try:
            fetch()
        except ToolMissingError as error:
            print(f"note: {error} The tests that need it are skipped.", file=sys.stderr)


if __name__ == "__main__":
    main()
