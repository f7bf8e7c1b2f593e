"""Container images as others read them: the parts of a layout, its root file system, and OCI's own validator."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from compile.machine.debian_packages import package_source
from compile.machine.emulator import TOOLS
from compile.storage.files import sha256
from repghost.errors import ToolMissingError

VALIDATOR = "oci-image-tool"


def fetch_validator(tools: Path = TOOLS) -> Path:
    """Return OCI's validator of schemas; Debian's package of it is unpacked below `tools` when it is not installed.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu, or the package cannot be had.
    """
    found = find_validator(tools)
    if found is None:
        with package_source(f"no {VALIDATOR} was found; apt install {VALIDATOR}.") as source:
            if not source.keep(VALIDATOR, [f"usr/bin/{VALIDATOR}"], tools):
                raise ToolMissingError(f"apt-get has no package {VALIDATOR}.")
        found = find_validator(tools)
    assert found is not None
    return found


def find_validator(tools: Path = TOOLS) -> Path | None:
    """Return what is installed or was fetched before."""
    installed, fetched = shutil.which(VALIDATOR), (tools / "usr/bin" / VALIDATOR).absolute()
    return Path(installed) if installed else fetched if fetched.is_file() else None


class Layout:
    """An image layout, every part of which has the digest and the size that its descriptor says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.top = json.loads((path / "index.json").read_bytes())
        (self.named,) = self.top["manifests"]
        self.index = json.loads(self.part(self.named))
        self.manifests = {entry["platform"]["architecture"]: json.loads(self.part(entry)) for entry in self.entries}

    @property
    def entries(self) -> list[dict[str, Any]]:
        return list(self.index["manifests"])

    def part(self, descriptor: dict[str, Any]) -> bytes:
        data = self.place(descriptor).read_bytes()
        assert (f"sha256:{sha256(data)}", len(data)) == (descriptor["digest"], descriptor["size"])
        return data

    def place(self, descriptor: dict[str, Any]) -> Path:
        return Path(self.path / "blobs" / descriptor["digest"].replace(":", "/"))

    def config(self, architecture: str) -> dict[str, Any]:
        return dict(json.loads(self.part(self.manifests[architecture]["config"])))

    def unpack(self, architecture: str, folder: Path) -> Path:
        """Unpack the layers of an image, as a container engine does."""
        for layer in self.manifests[architecture]["layers"]:
            with tarfile.open(fileobj=io.BytesIO(self.part(layer))) as archive:
                archive.extractall(folder, filter="tar")
        return folder
