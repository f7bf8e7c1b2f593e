"""torchrun for `--processes`: a process that failed ends the run with its own code, and one that was killed is named.

    python -m repghost.distributed.launcher --standalone --nproc-per-node=2 -m repghost train ...

torchrun itself ends with 1 and a traceback of its own below what the process said.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

from repghost.errors import RepGhostError, option
from repghost.terminal import say

BY_SIGNAL = 128  # and the number of the signal: the code of a program that one ended, as shells say it


def main(arguments: Sequence[str]) -> int:
    """Start the processes and return the code of the first one that failed, 0 where none did."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in ("api", "errors"):  # which process is told what, and the traceback of the one that failed
        logging.getLogger(f"torch.distributed.elastic.multiprocessing.{name}").setLevel(logging.CRITICAL)
    try:
        run.run(run.parse_args(list(arguments)))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode  # and it has said why
        name = signal.Signals(-failure.exitcode).name
        say(
            f"error: process {rank} was ended by {name}, so the others were stopped; by SIGKILL a system ends what "
            f"needs more memory than there is. What was written stays; give a training {option('resume')} to go on.",
            err=True,
        )
        return RepGhostError.exit_code
    except SignalException as error:
        return BY_SIGNAL + error.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
