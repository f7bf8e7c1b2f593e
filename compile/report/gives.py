"""What a network gives, in reports: scores of classes, a detector's boxes, or several results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 8  # results in a sentence


def model_facts(
    name: str, labels: Sequence[str], outputs: Sequence[Mapping[str, Any]], detects: bool
) -> dict[str, Any]:
    """Return what a report says of the network.

    Args:
        name: of the network.
        labels: class names, or the names of several results that are no classes.
        outputs: name, height, width and channels of each of several results; () of scores of classes.
        detects: whether the results are a detector's.
    """
    if not outputs:
        return {"name": name, "classes": len(labels)}
    return {
        "name": name,
        "classes": len(labels) if detects else 0,
        "detects": detects,
        "results": [dict(output) for output in outputs],
    }


def gives_text(model: Mapping[str, Any]) -> str:
    """Return what a network gives, e.g. "1000 classes".

    Args:
        model: from `model_facts`.
    """
    results = model.get("results", ())
    if not results:
        return f"{model['classes']} classes"
    shown = [f"{it['name']} {it['height']} x {it['width']} x {it['channels']}" for it in results[:SHOWN]]
    rest = f" and {len(results) - SHOWN} more" if len(results) > SHOWN else ""
    listed = f"{len(results)} results ({', '.join(shown)}{rest})"
    return f"boxes of {model['classes']} classes; {listed}" if model["detects"] else listed
