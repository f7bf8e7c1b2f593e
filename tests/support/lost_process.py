"""Started by torchrun: a process that is lost once. It imports no more than finding each other takes."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from repghost.distributed.ranks import Ranks, join


def restarts(ranks: Ranks, folder: Path) -> list[int]:
    """Lose the second process once, while the first one is busy; then return each one's count of restarts."""
    lost = folder / "lost"
    if not lost.exists():
        ranks.wait()
        if ranks.first:
            time.sleep(120)  # torchrun ends it
        lost.write_text("")
        os._exit(1)
    return ranks.gather(int(os.environ["TORCHELASTIC_RESTART_COUNT"]))


if __name__ == "__main__":
    with join("cpu", 60) as ranks:
        counts = restarts(ranks, Path(sys.argv[1]))
        if ranks.first:
            (Path(sys.argv[1]) / "restarts.json").write_text(json.dumps(counts))
    os._exit(0)  # all is written; torch's own threads sometimes abort an interpreter that tears itself down
