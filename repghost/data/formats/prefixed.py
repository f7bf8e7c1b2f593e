"""Names of sets as timm spells them: what kind of set, a slash, and where it is."""

from __future__ import annotations

from pathlib import Path


def without_prefix(path: Path, prefix: str) -> Path:
    """Return the path or name behind a prefix; a path loses the second slash of hfds//absolute, which is given back.

    Args:
        path: with or without the prefix.
        prefix: e.g. "wds/".
    """
    text = path.as_posix()
    if not text.startswith(prefix) or path.exists():
        return path
    rest = Path(text.removeprefix(prefix))
    top = rest.parts[0] if rest.parts else ""
    return Path("/") / rest if not Path(top).exists() and Path("/", top).exists() else rest
