"""How the user calls our programs, so that a command that a message prints works when it is pasted."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def own_command(name: str) -> str:
    """Return the shortest way to call a program of this environment, e.g. "repghost" or ".venv/bin/repghost".

    Args:
        name: "repghost" or "python".
    """
    place = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not place.exists() or (found and Path(found).parent == place.parent):
        return name
    relative = os.path.relpath(place)
    return relative if not relative.startswith("..") else str(place)
