"""Networks and bundles from the Hugging Face hub: `repghost.pull`. What comes from there is hostile until checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from compile.bundle.manifest import MANIFEST, MOST_FILES, check_bundle
from compile.storage.files import write_folder_atomically
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically
from repghost.hub.address import Address, is_plain, parse_address
from repghost.hub.download import FILE_LIMIT, Listing, download, list_files, listed
from repghost.terminal import Shown, escape
from repghost.untrusted import file_digest, read_bounded

# What is read of a repository besides bundles: weights, which are never unpickled freely, networks, and texts.
KINDS = (".safetensors", ".onnx", ".pt", ".pth", ".json", ".md", ".sig")
TOTAL_LIMIT = 4 << 30  # bytes of one pull
SHOWN = 8


@dataclass(frozen=True, repr=False)
class Pulled(Shown):
    """What lies here now.

    Attributes:
        address: of what was pulled, with its commit.
        folder: where it lies.
        files: the SHA-256 of each file that is not part of a bundle, by path in the folder.
        bundles: the digest of each bundle, by path in the folder.
        left_out: files of the repository that are none of ours, or whose names are none.
    """

    address: str
    folder: Path
    files: dict[str, str]
    bundles: dict[str, str]
    left_out: tuple[str, ...]

    def __repr__(self) -> str:
        lines = [f"pulled: {self.address} into {self.folder}"]
        lines += [f"  {path}  {digest}" for path, digest in self.files.items()]
        lines += [f"  {path}  bundle {digest}" for path, digest in self.bundles.items()]
        if self.left_out:
            more = f" and {len(self.left_out) - SHOWN} more" if len(self.left_out) > SHOWN else ""
            lines.append(f"  left there: {', '.join(escape(it, 100) for it in self.left_out[:SHOWN])}{more}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**vars(self), "folder": str(self.folder), "left_out": list(self.left_out)}


def pull(address: str, output: str | os.PathLike[str] | None = None) -> Pulled:
    """Fetch networks and bundles from the Hugging Face hub; sizes, names and digests are checked, and nothing is run.

    Args:
        address: hf://USER/NAME, a branch, tag or commit after @, and a file or a folder after /. Only a commit is the
            same tomorrow; the one that was fetched is in the result.
        output: the folder to write to; None: NAME. What is there already stays: a file that differs is refused.

    Raises:
        UsageError: when there is no such repository or file, it is too large, or something else is in the way.
        IntegrityError: when a file is not what the hub lists, or a bundle is not whole.
        RepGhostError: when the hub does not answer within 5 s.
        ToolMissingError: when huggingface_hub is not installed.
    """
    where = parse_address(address)
    folder = Path(output) if output is not None else Path(where.repository.partition("/")[2])
    listing = list_files(where)
    files, bundles, left = _chosen(listing, where)
    paths = [*files, *(f"{place}/{name}" for place, names in bundles.items() for name in names)]
    size = sum(listed(listing, Address(where.repository, where.revision, path)).size for path in paths)
    if size > TOTAL_LIMIT:
        raise UsageError(f"{where} has {size} bytes; at most {TOTAL_LIMIT} are fetched at once. Give a path in it.")
    here = {path: download(listing, listing.files[path]) for path in paths}
    for path, source in here.items():
        _refuse_other(folder / path, source)
    for path in files:
        write_bytes_atomically(folder / path, read_bounded(here[path], FILE_LIMIT))
    digests = {place: _put_bundle(folder, place, names, here) for place, names in bundles.items()}
    return Pulled(
        str(where.at(listing.commit)), folder, {path: file_digest(folder / path) for path in files}, digests, left
    )


def _chosen(listing: Listing, where: Address) -> tuple[list[str], dict[str, list[str]], tuple[str, ...]]:
    """Return the files, the names in each bundle by its folder, and what is left there.

    Raises:
        UsageError: when nothing is left to fetch.
    """
    inside = [path for path in sorted(listing.files) if path == where.path or _is_below(path, where.path)]
    plain = [path for path in inside if is_plain(path)]
    bundles: dict[str, list[str]] = {}
    for path in plain:
        if PurePosixPath(path).name == MANIFEST and "/" in path:
            bundles[str(PurePosixPath(path).parent)] = []
    files = []
    for path in plain:
        parent, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
        if parent in bundles:
            bundles[parent].append(name)
        elif path.endswith(KINDS):
            files.append(path)
    for place, names in bundles.items():
        if len(names) > MOST_FILES + 1:
            raise UsageError(f"hf://{where.repository}/{place} has {len(names)} files, and no bundle has so many.")
    if not files and not bundles:
        raise UsageError(
            f"{where} has nothing to fetch: no bundle, and no file that ends in {', '.join(KINDS)}. It holds "
            f"{', '.join(sorted(listing.files)[:SHOWN]) or 'nothing'}."
        )
    taken = {*files, *(f"{place}/{name}" for place, names in bundles.items() for name in names)}
    return files, bundles, tuple(path for path in inside if path not in taken)


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _refuse_other(path: Path, source: Path) -> None:
    """Refuse to write over a file that differs.

    Raises:
        UsageError: when one is there.
    """
    if os.path.lexists(path) and (not path.is_file() or file_digest(path) != file_digest(source)):
        raise UsageError(f"{path} is there already and differs. Remove it, or give another folder: -o DIR.")


def _put_bundle(folder: Path, place: str, names: list[str], here: dict[str, Path]) -> str:
    """Write a bundle once it is whole; return its digest."""

    def check(new: Path) -> None:
        check_bundle(new)

    if not (folder / place).exists():
        content = {name: read_bounded(here[f"{place}/{name}"], FILE_LIMIT) for name in names}
        write_folder_atomically(folder / place, content, check)
    return check_bundle(folder / place).digest
