"""Why ssh failed, as a sentence with the command that repairs it."""

from __future__ import annotations

from compile.deploy.ssh.address import BoardAddress
from repghost.errors import option

# A word of ssh's message, and what to say; the first that is found counts. {host}, {to} and {last} are filled in.
REASONS: tuple[tuple[str, str], ...] = (
    ("Could not resolve hostname", "no such host name. Check the spelling, or add it to ~/.ssh/config."),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known. If the board was set up anew, remove the old key: "
        "ssh-keygen -R {host}; otherwise somebody else may be answering.",
    ),
    (
        "host key is known",
        "its host key is unknown. Connect once by hand and compare the fingerprint: ssh {to}",
    ),
    (
        "Host key verification failed",
        "its host key is unknown. Connect once by hand and compare the fingerprint: ssh {to}",
    ),
    ("Permission denied", "it accepts none of your keys. Give it one: ssh-copy-id {to}"),
    ("Too many authentication failures", "it accepts none of the first keys offered. Name one in ~/.ssh/config."),
    ("Connection refused", "no ssh server answers there. On the board: systemctl start ssh; or name another {port}."),
    ("timed out", "it does not answer in time. Check that it is on and in the same network: ping {host}"),
    ("No route to host", "there is no route to it. Check that it is on and in the same network: ping {host}"),
    ("Network is unreachable", "there is no network to it. Check this machine's own connection."),
    ("UNPROTECTED PRIVATE KEY FILE", "your key can be read by others, so ssh refuses it: chmod 600 the key."),
    ("Bad configuration option", "ssh does not understand its configuration: {last}"),
    ("Connection closed", "it closed the connection. Its log says why: journalctl -u ssh"),
    ("Connection reset", "it closed the connection. Its log says why: journalctl -u ssh"),
)


def connection_reason(errors: str, address: BoardAddress) -> str:
    """Return why ssh failed.

    Args:
        errors: what ssh wrote on standard error.
        address: the board.
    """
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1][:200] if lines else "ssh gave no reason"
    for words, sentence in REASONS:
        if words in errors:
            return sentence.format(host=address.host, to=address.destination, last=last, port=option("port"))
    return f"ssh says {last!r}."


def storage_reason(problem: str) -> str:
    """Return what to do about a problem of the board's storage; empty when it is none."""
    for words, advice in (
        ("No space left", "Free some space there, or name another folder: user@board:folder."),
        ("File too large", "Its limit for files is too low (ulimit -f)."),
        ("Disk quota", "The quota of the account is used up."),
        ("Read-only file system", "Name a folder on a file system that can be written: user@board:folder."),
        ("Permission denied", "Name a folder that the account may write: user@board:folder."),
        ("Input/output error", "Its storage may be failing; look at dmesg there."),
    ):
        if words.lower() in problem.lower():
            return advice
    return ""
