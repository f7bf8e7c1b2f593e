"""What is refused, each with the exit code of the command line; the same codes as those of repghost-run."""

from __future__ import annotations


class RepGhostError(Exception):
    """Something from outside cannot be used; the message says what it is, what is allowed and what to do next."""

    exit_code = 1

    def __str__(self) -> str:
        """Return one line, safe to show whatever names are in it."""
        text = " ".join(str(part) for part in self.args)
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class UsageError(RepGhostError):
    """A wrong argument, image or path."""

    exit_code = 2


class UnsupportedError(RepGhostError):
    """This machine cannot run the bundle."""

    exit_code = 4


class IntegrityError(RepGhostError):
    """A digest or a recorded image did not match, or the bundle is not as bundles are."""

    exit_code = 6
