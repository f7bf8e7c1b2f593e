"""Files of a set that are not read: counted by kind, with the first of each kind by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath

from repghost.terminal import escape

_MOST_KINDS, _KIND_LENGTH = 20, 80

# Folders that file managers, servers and notebooks leave behind; those that begin with a dot are hidden anyway.
_LITTER = frozenset({"@eadir", "__macosx", "#recycle", "#snapshot", "@recycle", "$recycle.bin", "lost+found",
                     "system volume information"})  # fmt: skip


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none that the owner of the set put there."""
    return name.startswith(".") or name.lower() in _LITTER


def kind_of(name: str) -> str:
    """Return what messages call a file by its name that is no image."""
    if is_hidden(name):
        return "hidden files"
    suffix = PurePath(name).suffix.lower()
    return f"files that end in {suffix}" if suffix else "files without a suffix"


@dataclass
class Unread:
    """Counts of the files of a set that are not read."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, path: object) -> None:
        """Count a file or folder.

        Args:
            kind: what messages call such files.
            path: its name.
        """
        if kind not in self.counts and len(self.counts) >= _MOST_KINDS:
            kind = "other files"
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first[kind] = min(self.first.get(kind, str(path)), str(path))

    def messages(self) -> tuple[str, ...]:
        """Return a sentence for each kind."""
        return tuple(
            f"not read, {escape(kind, _KIND_LENGTH)}: {count} (the first: {escape(self.first[kind])})"
            for kind, count in sorted(self.counts.items())
        )
