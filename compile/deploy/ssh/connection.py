"""Running POSIX-sh scripts on a board, one ssh command each, with output that a chatty login shell cannot spoil."""

from __future__ import annotations

import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compile.deploy.ssh.address import BoardAddress
from compile.deploy.ssh.exchange import exchange
from compile.deploy.ssh.reasons import connection_reason
from repghost.errors import DeviceUnreachableError, ToolMissingError, UsageError, option
from repghost.terminal import escape
from repghost.untrusted import parse_int

SCRIPTS = Path(__file__).parent.parent / "scripts"
CONNECT_LIMIT_S = 8  # until a board has to answer
PRELUDE = ("common", "guarded")  # what stands before every script
COMMAND_LIMIT_S = 120.0  # of a command that does little
OUTPUT_LIMIT_BYTES = 1 << 26  # of one answer; larger ones are no answer of ours
TEXT_LIMIT_BYTES = 1 << 20  # of an answer in lines; files are larger
SSH_FAILED = 255  # ssh's own exit code
# The user's configuration applies; what it may hold for people at a terminal would only be in the way of a program.
OPTIONS = (
    "BatchMode=yes",  # never asks: an unknown host key is an error, as is a missing key of our own
    "RequestTTY=no",
    "RemoteCommand=none",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "PermitLocalCommand=no",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
)


@dataclass(frozen=True)
class SshSettings:
    """How boards are reached."""

    config: Path | None = None  # an ssh configuration instead of the user's own
    port: int | None = None
    connect_limit_s: int = CONNECT_LIMIT_S


@dataclass(frozen=True)
class Reply:
    """What a script printed on the board, and its exit status."""

    status: int
    output: bytes
    errors: str  # what stood on standard error, of the script and of ssh

    @cached_property
    def lines(self) -> list[str]:
        """The output, or the end of one that no script prints, as lines that are safe to show."""
        return [escape(line) for line in self.output[-TEXT_LIMIT_BYTES:].decode("utf-8", "replace").splitlines()]

    @property
    def problem(self) -> str:
        """The sentence a script gives when it stops by itself; otherwise the last line of the errors."""
        for line in self.lines:
            if line.startswith("problem "):
                return line.removeprefix("problem ")
        errors = [escape(line.strip()) for line in self.errors.splitlines() if line.strip()]
        return errors[-1] if errors else f"it ended with status {self.status}"

    def refuse_lacks(self, where: str) -> None:
        """Raise when a script stopped because the board has not what it needs; every script looks before it begins.

        Raises:
            UsageError: naming what is missing.
        """
        for line in self.lines[:1]:
            if line.startswith("lacks "):
                raise UsageError(f"{where} lacks {line.removeprefix('lacks ')[:300]}.")


def read_script(name: str) -> str:
    """Return the text of a script of this package."""
    return (SCRIPTS / f"{name}.sh").read_text(encoding="ascii")


def assignments(values: Mapping[str, object]) -> str:
    """Return shell assignments; every value is quoted."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def remote_word(script: str) -> str:
    """Return one command line that runs `script` in POSIX sh, whatever the login shell of the account is.

    Quotes, backslashes, exclamation marks, line breaks and everything outside ASCII mean different things to
    different shells, so they travel as octal numbers inside one pair of single quotes. They are no name of that
    shell, which begins every message with its name.
    """
    plain = set(range(32, 127)) - set(b"'\\!")
    encoded = "".join(chr(byte) if byte in plain else f"\\0{byte:03o}" for byte in script.encode())
    return f"exec sh -c 'eval \"$(printf %b \"$1\")\"' sh '{encoded}'"


def framed(script: str, token: str) -> str:
    """Return `script` with a mark before its output and, after it, a mark with its status."""
    return f"printf '\\n<%s>\\n' {token}\n(\n{script}\n)\nprintf '\\n</%s %d>\\n' {token} $?\n"


def unframed(output: bytes, token: str) -> tuple[bytes, int] | None:
    """Return what stands between the marks and the status; None when a mark is missing."""
    start, end = f"\n<{token}>\n".encode(), f"\n</{token} ".encode()
    begin = output.find(start)
    stop = output.rfind(end)
    if begin < 0 or stop < 0:
        return None
    status = parse_int(output[stop + len(end) :].partition(b">")[0][:4].decode("ascii", "replace"), high=255)
    return None if status is None else (output[begin + len(start) : stop], status)


class Connection:
    """A board that can be told to run scripts."""

    def __init__(self, address: BoardAddress, settings: SshSettings = SshSettings()) -> None:
        self.address = address
        self.settings = settings
        self.shared: Path | None = None  # the socket of a connection that is open already
        self.program = shutil.which("ssh")
        if self.program is None:
            raise ToolMissingError("ssh is not installed; on Debian or Ubuntu: apt install openssh-client")
        if settings.config is not None and not settings.config.is_file():
            raise UsageError(f"{settings.config} is no file; {option('ssh_config')} takes an ssh configuration.")

    def command(self, script: str) -> list[str]:
        """Return the words that run `script` on the board."""
        options = [*OPTIONS, f"ConnectTimeout={self.settings.connect_limit_s}"]
        words = [str(self.program), *(["-F", str(self.settings.config)] if self.settings.config else [])]
        words += [word for option in options for word in ("-o", option)]
        words += ["-o", f"ControlPath={self.shared}"] if self.shared else []
        words += ["-p", str(self.settings.port)] if self.settings.port else []
        return [*words, "--", self.address.destination, remote_word(script)]

    def script(self, name: str, values: Mapping[str, object]) -> str:
        """Return the text of a script with its variables and everything it calls."""
        given = assignments({"root": self.address.path, **values})
        return "\n".join([given, *(read_script(part) for part in (*PRELUDE, name))])

    def run(
        self, name: str, values: Mapping[str, object], content: bytes = b"", limit_s: float = COMMAND_LIMIT_S
    ) -> Reply:
        """Run a script of this package on the board.

        Args:
            name: of the script.
            values: its variables.
            content: its standard input.
            limit_s: seconds until it is given up.

        Raises:
            DeviceUnreachableError: when the board cannot be reached, or the connection ended before the script.
            UsageError: when the board lacks what every script needs.
        """
        token = secrets.token_hex(8)
        command = self.command(framed(self.script(name, values), token))
        try:
            done = exchange(command, content, limit_s, OUTPUT_LIMIT_BYTES)
        except TimeoutError:
            raise DeviceUnreachableError(
                f"{self.address.destination} did not finish '{name}' within {limit_s:g} s. Check the board, then try "
                "again: nothing that ran before was replaced."
            ) from None
        errors = done.errors.decode("utf-8", "replace")
        if len(done.output) > OUTPUT_LIMIT_BYTES:
            return Reply(1, b"problem it printed more than %d MiB" % (OUTPUT_LIMIT_BYTES >> 20), errors)
        found = unframed(done.output, token)
        if found is None:
            raise self.failure(done.code, errors, began=f"<{token}>".encode() in done.output)
        reply = Reply(found[1], found[0], errors)
        if reply.status:
            reply.refuse_lacks(self.address.destination)
        return reply

    def failure(self, code: int, errors: str, began: bool) -> DeviceUnreachableError:
        """Return the error for a command that gave no whole answer."""
        where = self.address.destination
        if began:
            return DeviceUnreachableError(
                f"the connection to {where} broke while a command ran there. Check the board and the network, then "
                "run the same command again: an upload goes on where it stopped."
            )
        if code == SSH_FAILED:
            return DeviceUnreachableError(f"{where} cannot be reached: {connection_reason(errors, self.address)}")
        seen: Sequence[str] = [line.strip() for line in errors.splitlines() if line.strip()]
        detail = f" It said: {seen[-1][:200]!r}." if seen else ""
        return DeviceUnreachableError(
            f"{where} ran no command (exit code {code}).{detail} The account needs a login shell and a POSIX sh."
        )
