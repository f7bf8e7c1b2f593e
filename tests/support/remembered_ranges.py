"""The observers that predictions choose, computed once for all tests and test processes of a run.

Choosing takes most of a calibration's time, and many tests calibrate the same network on the same images.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from calib.settings.config import QuantConfig
from repghost.files import write_text_atomically

Choose = Callable[..., QuantConfig]


def remember(choose: Choose, folder: Path) -> Choose:
    """Return `choose_observers` as a function that computes once for equal arguments.

    Args:
        choose: the function.
        folder: shared by the processes of a run, and by no other run.
    """

    @wraps(choose)
    def remembering(*arguments: Any) -> QuantConfig:
        config: QuantConfig = arguments[-1]
        path = folder / f"ranges-{hashlib.sha256(pickle.dumps(arguments)).hexdigest()}.json"
        if not path.is_file():
            layers = choose(*arguments).layers[len(config.layers) :]  # what it adds
            write_text_atomically(path, json.dumps(layers))
        added = [(name, tuple(map(tuple, changes))) for name, changes in json.loads(path.read_text())]
        return replace(config, layers=(*config.layers, *added))

    return remembering
