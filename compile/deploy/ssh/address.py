"""What the user wrote for a board: [user@]host[:folder]."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from repghost.errors import UsageError, option
from repghost.terminal import shell_command

DEFAULT_FOLDER = "repghost"  # below the home of the account
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,32})?)\](.*)", re.DOTALL)
FOLDER_LIMIT = 512  # characters
EXAMPLE = "pi@raspberry.local, board:apps/shirts or root@[fe80::1%eth0]:/opt/shirts"


@dataclass(frozen=True)
class BoardAddress:
    """An account on a board and a folder there."""

    host: str  # a name, an address, or an alias of ssh's configuration
    user: str = ""  # empty: ssh's own choice
    folder: str = DEFAULT_FOLDER  # absolute, or below the home of the account

    @property
    def destination(self) -> str:
        """What ssh is told."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def path(self) -> str:
        """The folder as a path that no program takes for an option; relative ones begin at the account's home."""
        return self.folder if self.folder.startswith("/") else f"./{self.folder}"

    def command(self, *words: str) -> str:
        """Return the command that runs words on the board, to copy into a shell here; the board's reads them again."""
        return shell_command("ssh", self.destination, *map(shlex.quote, words))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.folder}" if self.user else f"{host}:{self.folder}"


def parse_address(text: str) -> BoardAddress:
    """Return the board that `text` names.

    Args:
        text: [user@]host[:folder]; an IPv6 address stands in brackets.

    Raises:
        UsageError: when a part is missing or holds what ssh or a shell could take for something else.
    """
    user, at, rest = text.partition("@")
    if not at or "/" in user or ":" in user:  # an @ that belongs to the folder
        user, rest = "", text
    bracketed = BRACKETED.fullmatch(rest)
    if bracketed:
        host, tail = bracketed.groups()
    else:
        host, colon, folder = rest.partition(":")
        tail = f"{colon}{folder}"
        if not HOST.fullmatch(host):
            raise _refused(text, f"the host {host!r} is not a plain name or address")
    if (at and not user and rest is not text) or (user and not USER.fullmatch(user)):
        raise _refused(text, f"the user {user!r} is not a plain name")
    if tail and not tail.startswith(":"):
        raise _refused(text, f"{tail!r} follows the host; a folder begins with a colon")
    return BoardAddress(host, user, _folder(text, tail[1:]))


def _folder(text: str, given: str) -> str:
    folder = given.removeprefix("~/").rstrip("/") or ("/" if given.startswith("/") else DEFAULT_FOLDER)
    if len(folder) > FOLDER_LIMIT or not folder.isprintable():
        raise _refused(text, f"its folder is longer than {FOLDER_LIMIT} characters or has unprintable ones")
    if folder.startswith("//"):
        raise _refused(text, f"it is written as a URL; a port is given with {option('port')}")
    if folder == "/" or ".." in folder.split("/"):
        raise _refused(text, f"the folder {given!r} is the root or leads upwards")
    return folder


def _refused(text: str, reason: str) -> UsageError:
    return UsageError(f"{text!r} names no board: {reason}. Allowed is [user@]host[:folder], e.g. {EXAMPLE}.")
