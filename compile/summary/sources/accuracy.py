"""docs/accuracy.json: every way each checkpoint was quantized, evaluated on the same images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from compile.storage import formats
from compile.summary.facts import Method, Missing, Network
from compile.summary.sources import File, Learned, pixels
from compile.summary.sources.run import change, share

FORMAT, VERSION = formats.ACCURACY
ARCHIVE = re.compile(r"\.(tar(\.\w+)?|tgz|zip)$")  # how the file of a set ends
OURS = {"calibrated": "ptq", "trained": "qat"}  # groups of rows that are ours; the others are files of other tools


def read(file: File) -> Learned:
    """Return the networks with every method of ours that was measured.

    Raises:
        IntegrityError: when it is of another version.
    """
    file.require_version(VERSION, "make it again")
    networks = file.values["networks"]
    return Learned(
        about=f"{len(networks)} checkpoints by every method, on the same pictures",
        networks=tuple(_network(file, network) for network in networks),
        missing=tuple(missing for network in networks for missing in _missing(network)),
    )


def _network(file: File, network: Mapping[str, Any]) -> Network:
    test = network["test"]
    return Network(
        model=network["name"],
        size=pixels(network["size"]),
        weights=f"file ({network['file']})",
        weights_sha256=network["sha256"],
        data=f"{ARCHIVE.sub('', test['data'])}, split {test['split']}",
        data_sha256=test["sha256"],
        fp32=share(network["fp32"]),
        methods=tuple(_methods(network)),
        note="",
        source=file.name,
        classes=network.get("classes"),
    )


def _methods(network: Mapping[str, Any]) -> Iterator[Method]:
    for row in network["rows"]:
        if row["group"] in OURS and "top1" in row:
            yield Method(
                name=row["name"],
                kind="qat" if OURS[row["group"]] == "qat" else "ptq",
                share=share(row["top1"]),
                change=change(row["change"]),
                program_digest=str(row.get("program_digest", "")),
            )


def _missing(network: Mapping[str, Any]) -> Iterator[Missing]:
    for row in network["rows"]:
        if row["group"] in OURS and "not_measured" in row:
            yield Missing(f"{row['name']} of {network['name']}: {row['not_measured']}", "make accuracy")
