"""Another tool in a process of its own: it quantizes a network, and ONNX Runtime evaluates its file.

    python -m compile.accuracy.worker TASK.json

One JSON object is printed. The file is evaluated by ONNX Runtime, float32 between exact quantizers
(`session.disable_quant_qdq`): what the file says, whatever the instructions of this machine do with it.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from compile.accuracy.tools.task import INPUT, Task
from compile.bench.peers.worker import claim_output

MODULES = "compile.accuracy.tools"


def predict(path: Path, task: Task) -> NDArray[np.float32]:
    """Return the scores that the file at `path` gives each image, float32 [N, classes]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {INPUT: batch})[0] for batch in task.image_batches()]
    return np.concatenate(parts).astype(np.float32)


def main(arguments: list[str]) -> int:
    """Quantize, evaluate, and print what happened; see the top of the file."""
    output = claim_output()
    task = Task.from_json(Path(arguments[0]).read_text())

    def say(value: Any) -> None:
        print(json.dumps(value), file=output, flush=True)

    try:
        module = importlib.import_module(f"{MODULES}.{task.tool}")
        begun = time.process_time()
        path = module.quantize(task)
        seconds = time.process_time() - begun
        np.save(task.predictions, predict(path, task), allow_pickle=False)
    except ModuleNotFoundError as error:
        say({"missing": error.name})
        return 4
    except Exception as error:  # a tool may fail in any way; the others are still measured
        say({"failed": f"{type(error).__name__}: {error}"[:500]})
        return 1
    say({"seconds": seconds, "versions": {name: version(name) for name in module.PACKAGES}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
