"""Fetch what the tests use beside Python packages, without root: emulators, an ssh server, a browser,
and the validator of container images.

    python -m tests.support.fetch

What cannot be had is named on stderr; the tests that need it are skipped.
"""

from __future__ import annotations

import sys
from functools import partial

from benchmarks.shared.browser import fetch_browser
from compile.machine.emulator import fetch_emulator
from compile.targets.table import TARGETS
from repghost.errors import ToolMissingError
from tests.support.oci import fetch_validator
from tests.support.ssh_server import fetch_ssh_server


def main() -> None:
    """Fetch each of them, or say why it is not to be had."""
    emulations = dict.fromkeys(target.emulation for target in TARGETS.values() if target.emulation)
    emulators = [partial(fetch_emulator, emulation=emulation) for emulation in emulations]
    for fetch in (*emulators, fetch_ssh_server, fetch_browser, fetch_validator):
        try:
            fetch()
        except ToolMissingError as error:
            print(f"note: {error} The tests that need it are skipped.", file=sys.stderr)


if __name__ == "__main__":
    main()
