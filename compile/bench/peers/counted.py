"""A runtime under the counter: the Python of an emulated core runs this.

    python -m compile.bench.peers.counted INPUTS.json PEER FORM FILE LOGITS.npy

It loads a file that was converted elsewhere, writes the logits of the images, and marks one inference, so that the
counter (compile/bench/counter) tells its instructions from everything else the process does.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
from pathlib import Path

import numpy as np

from compile.bench.peers import PEERS, PeerModule
from compile.bench.peers.inputs import PeerInputs
from compile.bench.peers.worker import claim_output, package_version, predict_images

# Of compile/bench/counter/marks.h: a call of prctl that does nothing but tell the counter where a stretch ends.
MARK_OPTION, START, WHOLE, OVERHEAD = 0x52474D4B, 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run; see the top of the file."""
    output = claim_output()
    inputs = PeerInputs.from_json(Path(arguments[0]).read_text())
    peer, form = PEERS[arguments[1]], arguments[2]
    module: PeerModule = importlib.import_module(peer.module)
    session = module.open_session(Path(arguments[3]), inputs, form, 1)
    np.save(Path(arguments[4]), predict_images(session, inputs))  # also the inferences before the one that counts
    call = ctypes.CDLL(None).prctl

    def mark(number: int) -> None:
        call(MARK_OPTION, number, 0, 0, 0)

    mark(START)
    session.run()
    mark(WHOLE)
    mark(OVERHEAD)  # what a mark itself takes
    print(json.dumps({"version": package_version(peer.version_of)}), file=output, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
