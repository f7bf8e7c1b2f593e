"""Files of the hub, brought here: the revision is pinned first, and sizes and digests are held to what it lists."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from repghost.errors import IntegrityError, RepGhostError, ToolMissingError, UsageError
from repghost.hub.address import COMMIT, Address, is_address, parse_address
from repghost.terminal import escape, say
from repghost.untrusted import file_digest, read_bounded

FIRST_ANSWER_S = 5.0  # the hub's own client tries for half a minute
FILE_LIMIT = 1 << 30  # as `repghost.checkpoints` reads
FILES_LIMIT = 1000  # of a repository
WEIGHTS = "model.safetensors"  # what an address without a path means
FIRST_SERVER_ERROR = 500  # of HTTP
NEWEST = "main"  # the branch of published weights
SHOWN = 8  # names in a message
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it.

    Attributes:
        path: in the repository.
        size: in bytes.
        sha256: hexadecimal; "" for a small file that Git itself keeps.
        blob: Git's SHA-1 of it, hexadecimal.
    """

    path: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True)
class Listing:
    """The files of one commit, by path."""

    repository: str
    commit: str
    files: dict[str, RemoteFile]


def local_file(source: Path) -> Path:
    """Return the path of a file: as it is, or where the file of an address of the hub lies here.

    Raises:
        RepGhostError: when the hub does not give it, see `fetched`.
    """
    return fetched(str(source))[0] if is_address(source) else source


def source_name(source: str | Path) -> str:
    """Return what reports call a file: its name, or its address on the hub with the commit that was read."""
    return str(fetched(str(source))[1]) if is_address(source) else Path(source).name


def fetched(source: str) -> tuple[Path, Address]:
    """Return where a file of the hub lies here, and its address with its commit; it stays in the hub's cache.

    Args:
        source: an address; without a path in the repository, `WEIGHTS`.

    Raises:
        UsageError: when the address is none, or there is no such repository, revision or file.
        RepGhostError: when the hub does not answer within `FIRST_ANSWER_S`.
        IntegrityError: when what arrives is not what the hub lists.
        ToolMissingError: when huggingface_hub is not installed.
    """
    address = parse_address(source)
    return _fetched(replace(address, path=address.path or WEIGHTS))


@cache  # a network is read more than once, and its revision may not change in between
def _fetched(address: Address) -> tuple[Path, Address]:
    kept = _kept(address) if address.is_pinned else None
    if kept is not None:
        return kept, address
    listing = list_files(address)
    file = listed(listing, address)
    path = download(listing, file)
    found = address.at(listing.commit)
    stay = "" if address.is_pinned else f". To stay with this one: {found}"
    sha256 = file.sha256 or file_digest(path)  # what arrived has the digest that is listed
    say(f"note: {address} is revision {listing.commit}, sha256 {sha256}{stay}", err=True)
    return path, found


def published_file(repository: str, name: str) -> Path:
    """Return a file that a library publishes: from the hub's cache where it is there, from the hub otherwise.

    Raises:
        RepGhostError: see `fetched`.
    """
    address = Address(repository, None, name)
    kept = _kept(address)
    if kept is not None:
        return kept
    listing = list_files(address)
    return download(listing, listed(listing, address), NEWEST)  # the cache then knows which commit that was


def list_files(address: Address) -> Listing:
    """Return the commit that a revision is now, and its files.

    Raises:
        UsageError: when there is no such repository or revision, or it has too many files.
        RepGhostError: when the hub does not answer in time.
    """
    client = hub_client()
    ask = client.HfApi().model_info
    info = first_answer(
        address, lambda: ask(address.repository, revision=address.revision, files_metadata=True, timeout=FIRST_ANSWER_S)
    )
    if not isinstance(info.sha, str) or not COMMIT.fullmatch(info.sha):
        raise IntegrityError(f"{address}: the hub names no commit but {info.sha!r:.80}.")
    siblings = info.siblings or []
    if len(siblings) > FILES_LIMIT:
        raise UsageError(f"{address} has {len(siblings)} files; at most {FILES_LIMIT} are read.")
    return Listing(address.repository, info.sha, {it.rfilename: _remote(it) for it in siblings})


def listed(listing: Listing, address: Address) -> RemoteFile:
    """Return the file that an address names.

    Raises:
        UsageError: when it is not there, or too large.
    """
    file = listing.files.get(address.path)
    if file is None:
        names = sorted(listing.files)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UsageError(
            f"{address} has no such file; the repository holds {', '.join(names[:SHOWN]) or 'nothing'}{more}. Give "
            f"hf://{address.repository}/FILE."
        )
    if not 0 <= file.size <= FILE_LIMIT:
        raise UsageError(f"{address} has {file.size} bytes; at most {FILE_LIMIT} are fetched.")
    return file


def download(listing: Listing, file: RemoteFile, revision: str = "") -> Path:
    """Return where a file lies in the hub's cache once its size and digest are those of the listing.

    Args:
        listing: of a commit.
        file: one of its files.
        revision: under which the cache finds it again; "" for the commit.

    Raises:
        RepGhostError: when it does not arrive.
        IntegrityError: when it is another one.
    """
    address = Address(listing.repository, listing.commit, file.path)
    try:
        found = hub_client().hf_hub_download(
            listing.repository, file.path, revision=revision or listing.commit, etag_timeout=FIRST_ANSWER_S
        )
    except Exception as error:  # the hub's client raises its own, its transport's and the system's errors
        raise unreached(address, error) from error
    path = Path(found)
    data = read_bounded(path, FILE_LIMIT)
    given = hashlib.sha256(data) if file.sha256 else hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    if not file.sha256:
        given.update(data)
    if len(data) != file.size or given.hexdigest() != (file.sha256 or file.blob):
        raise IntegrityError(
            f"{address} arrived with {len(data)} bytes and digest {given.hexdigest()}; the hub lists {file.size} bytes "
            f"and {file.sha256 or file.blob}. Delete {path} and fetch it again."
        )
    return path


def first_answer(address: Address, ask: Callable[[], _Answer]) -> _Answer:
    """Return what the hub answers first; looking up its name and connecting have to end within `FIRST_ANSWER_S`, too.

    Raises:
        UsageError: when there is no such repository or revision, or the user may not see it.
        RepGhostError: when no answer comes in time.
    """
    answers: list[_Answer] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # shown by `unreached`
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(FIRST_ANSWER_S)
    if answers:
        return answers[0]
    error = errors[0] if errors else TimeoutError(f"no answer within {FIRST_ANSWER_S:g} s")
    raise unreached(address, error) from error


def hub_client() -> Any:
    """Return the hub's own client.

    Raises:
        ToolMissingError: when it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ToolMissingError("the hub needs a package: pip install huggingface_hub.") from error
    return huggingface_hub


def _kept(address: Address) -> Path | None:
    """Return a file that is in the hub's cache already."""
    revision = {"revision": address.revision} if address.revision else {}
    found = hub_client().try_to_load_from_cache(address.repository, address.path, **revision)
    return Path(found) if isinstance(found, str) else None


def _remote(sibling: Any) -> RemoteFile:
    """Return a file as the hub lists it; its size is -1 where the hub does not say it."""
    sha256 = str(getattr(sibling.lfs, "sha256", "") or "")
    size = sibling.size if isinstance(sibling.size, int) else -1
    return RemoteFile(str(sibling.rfilename), size, sha256, str(sibling.blob_id or ""))


def unreached(address: Address, error: Exception) -> RepGhostError:
    """Return why the hub did not give something, in one sentence."""
    kinds = hub_client().errors
    line = escape((str(error).strip().splitlines() or [type(error).__name__])[0], 200)
    if isinstance(error, kinds.RevisionNotFoundError):
        return UsageError(f"hf://{address.repository} has no revision {address.revision!r}; leave it out, or fix it.")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, kinds.RepositoryNotFoundError | kinds.LocalTokenNotFoundError) or status in (401, 403):
        return UsageError(
            f"the hub shows no {address} to you ({line}). Check the name; of a private repository, and to push, log in "
            "with 'hf auth login' or set HF_TOKEN."
        )
    if status is not None and status < FIRST_SERVER_ERROR:
        return UsageError(f"the hub refuses {address} ({line}).")
    return RepGhostError(
        f"could not reach {address} ({line}). Check the network; or fetch the file on another machine and give its "
        "path."
    )
