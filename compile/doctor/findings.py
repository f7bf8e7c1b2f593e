"""What `repghost doctor` finds: one line for each thing that was looked for."""

from __future__ import annotations

from dataclasses import dataclass

OK, ABSENT, MISSING = "ok", "absent", "missing"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    mark: str  # "ok", "absent" (something optional) or "missing" (something needed)
    found: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return a JSON-ready dictionary."""
        return dict(vars(self))
