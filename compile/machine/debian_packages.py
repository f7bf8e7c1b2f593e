"""Parts of Debian's or Ubuntu's packages without root: downloaded by apt-get, unpacked, never installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repghost.errors import ToolMissingError
from repghost.files import temporary_folder
from repghost.processes import run_limited

LIMIT_S = 600.0  # of one program; a download included


@dataclass(frozen=True)
class PackageSource:
    """Where packages come from; the lists of packages are fetched privately when the system has none."""

    lists: Path

    def keep(self, package: str, parts: Sequence[str], tools: Path) -> bool:
        """Download a package and keep what is used of it; returns whether it has any of the parts.

        Args:
            package: its name.
            parts: files and folders of it, relative to the root.
            tools: the folder that stands for the root.
        """
        with tempfile.TemporaryDirectory(prefix="repghost-deb-") as name:
            folder = Path(name)
            if not _apt_get(["download", package], folder):
                private = _private_lists(self.lists)
                if not _apt_get([*private, "download", package], folder):
                    return False
            unpacked = folder / "unpacked"
            if not all(_run(["dpkg", "-x", str(deb), str(unpacked)], folder) for deb in folder.glob("*.deb")):
                return False
            return any([_keep(unpacked, part, tools) for part in parts])

    def keep_whole(self, packages: Sequence[str], place: Path, architecture: str | None = None) -> bool:
        """Download packages and everything they need that this system lacks; returns whether all could be had.

        Args:
            packages: their names.
            place: the folder that stands for the root; it appears whole or not at all.
            architecture: another one than this machine's, e.g. "arm64"; nothing of it counts as installed.
        """
        if place.exists():
            return True
        place = place.absolute()  # the programs below run in another folder
        with temporary_folder(place) as folder:
            archives, unpacked = folder / "archives", folder / "unpacked"
            (archives / "partial").mkdir(parents=True)
            options = ["-y", "--no-install-recommends", "--download-only", "-oDebug::NoLocking=1"]
            options.append(f"-oDir::Cache::archives={archives}")
            if architecture is not None:
                options = [*_foreign_lists(self.lists / architecture, architecture), *options]
            if not _apt_get([*options, "install", *packages], archives):
                if architecture is not None:
                    return False
                if not _apt_get([*_private_lists(self.lists), *options, "install", *packages], archives):
                    return False
            downloaded = sorted(archives.glob("*.deb"))
            for archive in downloaded:
                if not _run(["dpkg", "-x", str(archive), str(unpacked)], archives):
                    return False
            if downloaded:
                move_unless_there(unpacked, place)
        return bool(downloaded)


@contextmanager
def package_source(why: str) -> Iterator[PackageSource]:
    """Yield where packages come from.

    Args:
        why: what a message says first when there is no such place.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu.
    """
    missing = [tool for tool in ("apt-get", "dpkg") if not shutil.which(tool)]
    if missing:
        raise ToolMissingError(f"{why} Without {' and '.join(missing)} it cannot be fetched.")
    with tempfile.TemporaryDirectory(prefix="repghost-apt-") as name:
        yield PackageSource(Path(name))


def _keep(unpacked: Path, part: str, tools: Path) -> bool:
    """Copy a file or folder of a package to the same place below `tools`; it appears there whole or not at all."""
    source, place = unpacked / part, tools / part
    if not source.exists() or place.exists():
        return place.exists()
    with temporary_folder(place) as staging:
        copy = staging / place.name
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            shutil.copy2(source, copy)
        move_unless_there(copy, place)
    return True


def move_unless_there(made: Path, place: Path) -> None:
    """Move a whole file or folder to its place; where another process was faster, its copy is as good."""
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise


def _private_lists(lists: Path) -> list[str]:
    """Return options that make apt-get use package lists of our own, fetched on first use."""
    return _fetched(lists, ["-oDir::State::status=/var/lib/dpkg/status"])


def _foreign_lists(lists: Path, architecture: str) -> list[str]:
    """Return options that make apt-get see a machine of another architecture on which nothing is installed."""
    lists.mkdir(parents=True, exist_ok=True)
    status = lists / "status"
    status.touch()
    named = [f"-oAPT::Architecture={architecture}", f"-oAPT::Architectures::={architecture}"]
    return _fetched(lists, [f"-oDir::State::status={status}", *named])


def _fetched(lists: Path, more: list[str]) -> list[str]:
    """Return the options of a folder of package lists, fetching them on first use."""
    options = [f"-oDir::State={lists}", f"-oDir::Cache={lists}/cache", *more]
    if not (lists / "lists").exists():
        (lists / "lists/partial").mkdir(parents=True)
        (lists / "cache/archives/partial").mkdir(parents=True)
        _apt_get([*options, "update"], lists)
    return options


def _apt_get(arguments: list[str], folder: Path) -> bool:
    # The sandbox user of a root shell cannot write into a private folder; without it apt-get only warns.
    return _run(["apt-get", "-qq", "-oAPT::Sandbox::User=root", *arguments], folder)


def _run(command: list[str], folder: Path) -> bool:
    advice = "Check the network, or install the packages by hand."
    return run_limited(command, LIMIT_S, name=command[0], advice=advice, folder=folder).returncode == 0
