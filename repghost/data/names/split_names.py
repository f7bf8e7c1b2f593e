"""Names of splits: which words mean the same, and which stands in for which."""

from __future__ import annotations

from collections.abc import Iterable

from repghost.errors import UsageError

TRAIN, VAL, TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")
CALIBRATION = ("calibration",)
WORDS = frozenset({*TRAIN, *VAL, *TEST, *CALIBRATION})

_WANTED = ((TRAIN, TRAIN), (VAL, VAL + TEST), (TEST, TEST + VAL))


def wanted_names(split: str) -> tuple[str, ...]:
    """Return the names that may stand for a split, the best first; test and val stand in for each other."""
    for group, names in _WANTED:
        if split.lower() in group:
            return tuple(dict.fromkeys((split, *names)))
    return (split,)


def find_names(split: str, present: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that are there which may stand for a split, the best first, in any case.

    Raises:
        UsageError: when two differ only in case.
    """
    there, found = list(present), []
    for name in wanted_names(split):
        alike = [other for other in there if other.lower() == name.lower()]
        if len(alike) > 1 and name not in alike:
            raise UsageError(f"the splits {' and '.join(sorted(alike))} differ only in case; rename or remove one.")
        found += [name] if name in alike else alike
    return tuple(dict.fromkeys(found))
