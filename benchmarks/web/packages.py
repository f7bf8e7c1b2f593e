"""The other runtimes' npm packages: for the benchmark alone, in exact versions, in a folder of builds."""

from __future__ import annotations

import shutil
from pathlib import Path

from compile.storage.stage_cache import key_digest
from compile.storage.strict_json import canonical_json
from repghost.errors import ToolMissingError
from repghost.files import temporary_folder
from repghost.processes import run_limited

PACKAGES = {
    "onnxruntime-web": "1.30.0",
    "@litertjs/core": "2.5.3",
    "@litertjs/wasm-utils": "2.5.3",
    "@tensorflow/tfjs-core": "4.22.0",
    "@tensorflow/tfjs-converter": "4.22.0",
    "@tensorflow/tfjs-backend-wasm": "4.22.0",
}
LIMIT_S = 600
ADVICE = "Check the network and the npm registry, then try again."


def install_packages(output: Path) -> Path:
    """Return the folder node_modules of `PACKAGES`, installed where it is not there; none of their scripts is run.

    Args:
        output: the folder of builds.

    Raises:
        ToolMissingError: when there is no npm, or it cannot install them.
    """
    place = place_of(output)
    if (place / "node_modules").is_dir():
        return place / "node_modules"
    if not shutil.which("npm"):
        raise ToolMissingError("npm is not installed; it fetches the other runtimes. Install it: apt install npm")
    with temporary_folder(place) as temporary:
        folder = temporary / "packages"
        folder.mkdir()
        (folder / "package.json").write_bytes(canonical_json({"private": True, "dependencies": PACKAGES}))
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact"]
        done = run_limited(command, LIMIT_S, name="npm install", advice=ADVICE, folder=folder)
        if done.returncode:
            raise ToolMissingError(f"npm install failed: {done.stderr.strip()[-500:]} {ADVICE}")
        folder.rename(place)
    return place / "node_modules"


def place_of(output: Path) -> Path:
    """Return the folder they are installed into: another one for other versions."""
    return output.absolute() / f"npm-{key_digest({'packages': PACKAGES})[:16]}"
