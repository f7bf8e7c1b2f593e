"""Converting a network for a runtime in a process of its own, for a machine this one emulates.

    python -m compile.bench.peers.prepare INPUTS.json PEER FORM

It prints one JSON object: the file, or what is missing. Converters run here, where they are fast; the file they make
is the same for every machine.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from compile.bench.peers import PEERS, PeerModule
from compile.bench.peers.inputs import PeerInputs
from compile.bench.peers.worker import claim_output


def main(arguments: list[str]) -> int:
    """Convert; see the top of the file."""
    output = claim_output()
    inputs = PeerInputs.from_json(Path(arguments[0]).read_text())
    try:
        module: PeerModule = importlib.import_module(PEERS[arguments[1]].module)
        said = {"path": str(module.prepare(inputs, arguments[2]))}
    except ModuleNotFoundError as error:
        said = {"missing": str(error.name)}
    except Exception as error:  # a converter may fail in any way; the others are still compared
        said = {"failed": f"{type(error).__name__}: {error}"[:500]}
    print(json.dumps(said), file=output, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
