"""The model card of a network's file: Markdown with a head of YAML, as the hub reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compile.report.card import PAPER, head_lines, input_lines
from repghost.channels import RGB, WORDS
from repghost.hub.address import Address

DETECTION = "object-detection"  # a task of the hub
COUNT = "pictures"  # the key of how many images were evaluated
SHOWN = 8  # class names
LICENSES = ("mit", "apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "gpl-3.0")  # as the hub writes


@dataclass(frozen=True)
class Facts:
    """What a card says of a file.

    Attributes:
        name: of the network.
        kind: what the file is, e.g. "float32 checkpoint".
        tags: for the hub's search.
        classes: how many it tells apart.
        labels: their names, None where the file does not say.
        preprocess: of its images, as JSON values; None likewise.
        training: whatever the file keeps of how it was made.
        license: of the weights, as the file names it; "" where it does not.
        task: as the hub calls what the network does.
    """

    name: str
    kind: str
    tags: tuple[str, ...]
    classes: int
    labels: tuple[str, ...] | None
    preprocess: Mapping[str, Any] | None
    training: Mapping[str, Any]
    license: str = ""
    task: str = "image-classification"


def file_card(facts: Facts, address: Address, digests: Mapping[str, str]) -> str:
    """Return the card.

    Args:
        facts: of the file.
        address: where it will be.
        digests: the SHA-256 of each file, by path in the repository.
    """
    report: dict[str, Any] = {"accuracy": {"measured": False}, "preprocess": facts.preprocess}
    network = f"RepGhostNet ({PAPER}). " if "repghostnet" in facts.name else ""
    colours = WORDS[len(facts.preprocess["mean"]) if facts.preprocess else RGB]
    more = {"pipeline_tag": facts.task}
    if facts.license:
        more["license"] = known_license(facts.license)
    place = f"hf://{address.repository}/{address.path}"
    use = f"repghost compile --target arm64 --weights {place} --data DIR"
    if facts.task == DETECTION:
        use = f"repghost pull {place} -o . && repghost detect-validate {address.path} --data DIR"
    lines = [
        *head_lines(report, facts.tags, more),
        f"# {facts.name}, {facts.kind}",
        "",
        f"{network}Classes: {facts.classes}{_named(facts.labels)}.",
        "",
        *_test_accuracy(facts.training),
        "",
        "## Use",
        "",
        "```sh",
        use,
        "```",
        "",
        *(input_lines(report, f"{colours} bytes", "are applied inside") if facts.preprocess else ()),
    ]
    if facts.training:
        lines += ["## How it was made", "", "    " + json.dumps(facts.training, sort_keys=True)[:4000], ""]
    lines += ["## Files", "", *[f"- `{path}`: SHA-256 `{digest}`" for path, digest in digests.items()]]
    return "\n".join(lines) + "\n"


def _test_accuracy(training: Mapping[str, Any]) -> list[str]:
    """Return what the training said of the accuracy, and what to do before anything depends on it."""
    advice = "Measure it on images of your own with `repghost validate` before anything depends on it."
    for key, images in (("test", "test"), ("held_out", "held-out")):
        found = training.get(key)
        if isinstance(found, Mapping) and isinstance(found.get("top1"), float) and isinstance(found.get(COUNT), int):
            return [f"Top-1 {found['top1']:.2%} on {found[COUNT]:,} {images} images of its training. {advice}"]
    return [f"The file says no accuracy. {advice}"]


def known_license(name: str) -> str:
    """Return a license as the hub writes it; it takes no name that it does not know."""
    return name.lower() if name.lower() in LICENSES else "other"


def _named(labels: tuple[str, ...] | None) -> str:
    if labels is None:
        return ""
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return f" ({', '.join(json.dumps(name, ensure_ascii=False) for name in labels[:SHOWN])}{more})"


def bundle_card(manifest: Mapping[str, Any], digest: str, place: str) -> str:
    """Return the card of a bundle that has none beside it.

    Args:
        manifest: of a checked bundle.
        digest: of the bundle.
        place: its folder in the repository.
    """
    accuracy = manifest["accuracy"]
    model = {"results": manifest.get("outputs", ()), "detects": "detection" in manifest}
    report = {"accuracy": {"measured": False}, "preprocess": manifest["preprocess"], "model": model}
    target, precision = manifest["target"]["name"], manifest["precision"]
    found = json.dumps(accuracy, sort_keys=True)[:4000] if accuracy.get("measured") is True else "not measured"
    lines = [
        *head_lines(report, [precision, target], {}),
        f"# {manifest['model']['name']}, {precision}, for {target}",
        "",
        f"A bundle in `{place}`, digest `{digest}`. `repghost pull` fetches and "
        "checks it, `repghost verify` replays its recorded pictures, `repghost deploy` brings it to a board.",
        "",
        *input_lines(report, "bytes", "are applied inside"),
        "## Accuracy",
        "",
        f"    {found}",
    ]
    return "\n".join(lines) + "\n"
