"""Files brought to the hub, in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repghost.errors import UsageError
from repghost.hub.address import Address
from repghost.hub.download import first_answer, hub_client, list_files, unreached

CARD = "README.md"


def upload(
    address: Address, files: Mapping[str, Path | bytes], card: str, message: str, *, private: bool = False
) -> Address:
    """Commit files to a repository, which is made where there is none; return its address with the commit.

    Args:
        address: of the repository; its revision is the branch, its path is not looked at.
        files: a file here, or its content, by path in the repository.
        card: becomes the repository's README.md where it has none yet.
        message: of the commit.
        private: whether a repository that is made is shown to its owner only.

    Raises:
        UsageError: when nobody is logged in, or the repository is another's.
        RepGhostError: when the hub does not answer.
    """
    if address.is_pinned:
        raise UsageError(f"{address} names a commit, which nobody can change; leave it out, or give a branch.")
    client = hub_client()
    api = client.HfApi()
    first_answer(address, api.whoami)
    try:
        api.create_repo(address.repository, private=private or None, exist_ok=True)
        there = list_files(Address(address.repository, address.revision))
        content: dict[str, Path | bytes] = dict(files)
        if CARD not in there.files:
            content[CARD] = card.encode()
        done: Any = api.create_commit(
            address.repository,
            [client.CommitOperationAdd(path, _given(value)) for path, value in content.items()],
            commit_message=message,
            revision=address.revision,
        )
    except UsageError:
        raise
    except Exception as error:  # the hub's client raises its own, its transport's and the system's errors
        raise unreached(address, error) from error
    return Address(address.repository, str(done.oid), address.path)


def _given(value: Path | bytes) -> str | bytes:
    return value if isinstance(value, bytes) else str(value)
