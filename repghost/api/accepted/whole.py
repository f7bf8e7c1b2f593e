"""Arguments that count something."""

from __future__ import annotations

import numpy as np

from repghost.errors import UsageError, option


def check_whole(least: int, **given: object) -> None:
    """Refuse arguments that are no whole numbers; None stands for a default.

    Args:
        least: the smallest that is allowed.
        given: the arguments, by their names.

    Raises:
        UsageError: naming the first one.
    """
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise UsageError(f"{option(name)} is a whole number, at least {least}, not {value!r:.80}.")
