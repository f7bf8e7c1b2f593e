"""A bundle's files on the board: what is there is kept, a broken upload goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from compile.bundle.manifest import MANIFEST, Bundle
from compile.deploy.ssh.connection import Connection, Reply
from compile.deploy.ssh.reasons import storage_reason
from compile.storage.files import sha256
from repghost.errors import DeviceUnreachableError, IntegrityError
from repghost.untrusted import parse_int

SLOWEST_BYTES_PER_S = 20_000  # a slower link is given up
START_LIMIT_S = 60.0  # on top of that, for a file of any size
DIGEST_LIMIT_S = 600.0
RUNNER = "repghost-run"
INCOMING, BUNDLES = "incoming", "bundles"


@dataclass(frozen=True)
class Upload:
    """What the board has of a bundle before anything is sent."""

    complete: bool  # the bundle lies in its place already
    sizes: dict[str, int]  # bytes of each file that an earlier upload left


def begin(connection: Connection, bundle: Bundle, token: str) -> Upload:
    """Prepare the upload of a bundle.

    Raises:
        DeviceUnreachableError: when the board's folder cannot be used.
        UsageError: when the board cannot switch versions in one step, or start programs in its folder.
    """
    names = "\n".join([*bundle.manifest["files"], MANIFEST])
    reply = connection.run("begin", {"digest": bundle.digest, "names": names, "token": token})
    refuse(reply, connection.address.destination)
    sizes = {}
    for line in reply.lines:
        word, _, rest = line.partition(" ")
        text, _, name = rest.partition(" ")
        size = parse_int(text)
        if word == "have" and size is not None:
            sizes[name] = size
    return Upload("complete" in reply.lines, sizes)


def refuse(reply: Reply, where: str) -> None:
    """Raise when a script stopped, with what it said and what to do.

    Raises:
        DeviceUnreachableError: naming the problem.
    """
    if reply.status:
        advice = storage_reason(reply.problem) or "Nothing that ran before was replaced."
        raise DeviceUnreachableError(f"{where} could not do it: {reply.problem[:300]}. {advice}")


def contents(bundle: Bundle) -> dict[str, bytes]:
    """Return each file of a bundle, checked at this moment, the manifest last."""
    files = {name: bundle.read(name) for name in sorted(bundle.manifest["files"])}
    manifest = (bundle.path / MANIFEST).read_bytes()
    if sha256(manifest) != bundle.digest:
        raise IntegrityError(f"{bundle.path / MANIFEST} changed while it was deployed. Start again.")
    return {**files, MANIFEST: manifest}


def send(
    connection: Connection, bundle: Bundle, upload: Upload, token: str, tool: str, say: Callable[[str], None]
) -> None:
    """Bring every file of the bundle to the board and check what the board can check itself.

    Args:
        connection: to the board, which is held.
        bundle: from `check_bundle`.
        upload: from `begin`.
        token: from `hold`.
        tool: the board's program for SHA-256; without one only the runner is read back, and it checks the rest.
        say: is told each file.

    Raises:
        IntegrityError: when the board has other bytes than were sent.
        DeviceUnreachableError: when the connection broke or the board cannot write.
    """
    files = contents(bundle)
    resumed = {name for name in files if upload.sizes.get(name)}
    for name, content in files.items():
        say(_copied(name, content, append(connection, bundle, name, content, upload.sizes.get(name, 0), token)))
    folder = f"{INCOMING}/{bundle.digest}"
    wrong = differing(connection, bundle, folder, files, tool)
    mended = wrong & resumed  # what an earlier upload left was damaged
    for name in sorted(mended):
        say(_copied(name, files[name], append(connection, bundle, name, files[name], 0, token)))
    wrong = (wrong - mended) | differing(connection, bundle, folder, mended, tool)
    if wrong:
        where = connection.address.destination
        connection.run("discard", {"digest": bundle.digest, "token": token})
        raise IntegrityError(
            f"{', '.join(sorted(wrong))}: what {where} has differs from what was sent; it was removed there. Try "
            "again; if it happens again, the storage or memory of the board is failing."
        )


def _copied(name: str, content: bytes, sent: int) -> str:
    kept = len(content) - sent
    return f"{name} {len(content)} bytes" + (f", {kept} of them were there" if kept else "")


def append(connection: Connection, bundle: Bundle, name: str, content: bytes, there: int, token: str) -> int:
    """Send what is missing of a file; returns how many bytes that were."""
    offset = there if 0 < there <= len(content) else 0
    if offset == len(content) > 0:
        return 0
    values = {"digest": bundle.digest, "name": name, "offset": offset, "token": token}
    rest = content[offset:]
    reply = connection.run("append", values, rest, START_LIMIT_S + len(rest) / SLOWEST_BYTES_PER_S)
    where = connection.address.destination
    refuse(reply, where)
    if f"size {len(content)}" not in reply.lines:
        raise DeviceUnreachableError(
            f"the upload of {name} to {where} was cut short. Run the same command again: it goes on where it stopped."
        )
    return len(rest)


def differing(connection: Connection, bundle: Bundle, folder: str, names: Iterable[str], tool: str) -> set[str]:
    """Return the files in a folder of the board whose bytes are not the bundle's.

    Args:
        connection: to the board.
        bundle: what has to be there.
        folder: below the board's folder.
        names: the files to look at.
        tool: the board's program for SHA-256. Without one the files are read back; where the bundle has a runner,
            the runner alone, because it checks every other file itself.
    """
    expected = {MANIFEST: bundle.digest, **{name: entry["sha256"] for name, entry in bundle.manifest["files"].items()}}
    if not tool:
        own = [name for name in names if name == RUNNER or RUNNER not in expected]
        return {name for name in own if sha256(_read_back(connection, folder, name)) != expected[name]}
    wanted = list(names)
    if not wanted:
        return set()
    values = {"folder": folder, "names": "\n".join(wanted), "tool": tool}
    reply = connection.run("digests", values, limit_s=DIGEST_LIMIT_S)
    refuse(reply, connection.address.destination)
    found = {}
    for line in reply.lines:
        word, _, rest = line.partition(" ")
        digest, _, name = rest.partition(" ")
        if word == "sha256":
            found[name] = digest
    return {name for name in wanted if found.get(name) != expected[name]}


def _read_back(connection: Connection, folder: str, name: str) -> bytes:
    reply = connection.run("read", {"folder": folder, "name": name}, limit_s=DIGEST_LIMIT_S)
    refuse(reply, connection.address.destination)
    return reply.output
