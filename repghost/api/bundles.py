"""What functions on bundles share: which folder is meant, and how a board is reached."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from calib.importer.names import ONNX
from compile.bundle.host_model import HostModel
from compile.deploy.ssh.address import parse_address
from compile.deploy.ssh.connection import Connection, SshSettings
from compile.targets.table import JETSON, find_target
from repghost.errors import UsageError

# The folder of a bundle, what `repghost.compile` returned, or what `repghost.load` did.
BundleLike: TypeAlias = Any
Say: TypeAlias = Callable[[str], None]
CONNECT_LIMIT_S = 8  # to wait for a board


def bundle_path(bundle: BundleLike) -> Path:
    """Return the folder of a bundle.

    Raises:
        UsageError: when the value is none.
    """
    if isinstance(bundle, str | os.PathLike):
        return Path(bundle)
    if isinstance(bundle, HostModel):
        return bundle.bundle.path
    path = getattr(bundle, "path", None)
    if isinstance(path, Path):
        return path
    raise UsageError(f"a bundle is its folder or what repghost.compile returned, not {type(bundle).__name__}.")


@contextmanager
def as_file(network: object) -> Iterator[Path]:
    """Give the path of a network: itself, the folder of a bundle, or for a while a QDQ file of a quantized network.

    Raises:
        UsageError: for anything else.
    """
    if hasattr(network, "quantized") and hasattr(network, "save"):
        with TemporaryDirectory(prefix="repghost-") as folder:
            yield network.save(Path(folder) / "network.qdq.onnx", settings=False)
    else:
        yield bundle_path(network)


def as_paths(bundles: BundleLike | Sequence[BundleLike]) -> tuple[Path, ...]:
    """Return the folders of one bundle or of several."""
    several = bundles if isinstance(bundles, list | tuple) else [bundles]
    return tuple(bundle_path(bundle) for bundle in several)


def as_path(value: str | os.PathLike[str] | None) -> Path | None:
    """Return a path, None for None."""
    return None if value is None else Path(value)


def is_jetson(target: str) -> bool:
    """Return whether a target is a Jetson, whose engine its board builds.

    Raises:
        UsageError: when there is no such target.
    """
    return find_target(target) is JETSON


def is_quantized_file(network: object) -> bool:
    """Return whether a network is an ONNX file of integers; what is not there is taken for what its name says."""
    if not isinstance(network, str | os.PathLike) or not str(network).endswith(ONNX):
        return False
    if not Path(network).is_file():
        return str(network).endswith(".qdq.onnx")
    from calib.importer.onnx_file import is_quantized

    return is_quantized(Path(network))


def silent(line: str) -> None:
    """Say nothing: what a function tells where nobody listens."""


@dataclass(frozen=True)
class Ssh:
    """How boards are reached, over the system's OpenSSH.

    Attributes:
        ssh_config: an ssh configuration; None: yours.
        port: of the board's ssh server; None: ssh's own.
        connect_limit: seconds to wait for a board.
    """

    ssh_config: str | os.PathLike[str] | None = None
    port: int | None = None
    connect_limit: int = CONNECT_LIMIT_S

    def connect(self, board: str) -> Connection:
        """Return the connection to a board.

        Raises:
            UsageError: when the board is not named as [user@]host[:folder].
            ToolMissingError: when ssh is not installed.
        """
        return Connection(parse_address(board), SshSettings(as_path(self.ssh_config), self.port, self.connect_limit))
