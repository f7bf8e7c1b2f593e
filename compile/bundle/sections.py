"""What a manifest says besides format, version and files, and the type of everything that is read of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Model:
    """The network itself; more is written for reports."""

    name: str
    weights: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetRow:
    """The row of `compile.targets.table`; more is written for Jetsons."""

    name: str
    triple: str


@dataclass(frozen=True)
class Input:
    """The image that the network takes, in pixels."""

    height: int
    width: int
    channels: int
    tolerance: dict[str, Any] = field(default_factory=dict)  # of a Jetson, by precision


@dataclass(frozen=True)
class LayerEntry:
    """A layer; those of a bundle for Jetsons have a name and an arithmetic only."""

    name: str
    arithmetic: str
    operator: str = ""
    input: list[int] = field(default_factory=list)
    output: list[int] = field(default_factory=list)
    macs: int = 0
    weight_bytes: int = 0
    kernels: dict[str, str] = field(default_factory=dict)  # by instruction set


@dataclass(frozen=True)
class OutputEntry:
    """One of several results: float32 [height, width, channels]."""

    name: str
    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Sections:
    """Every key of a manifest besides format, version and files; the last two are those of several results only."""

    abi: int
    model: Model
    target: TargetRow
    precision: str
    program_digest: str
    input: Input
    classes: int
    preprocess: dict[str, Any]
    quantization: dict[str, Any]
    variants: list[str]
    layers: list[LayerEntry]
    accuracy: dict[str, Any]
    tools: dict[str, str]
    outputs: list[OutputEntry] = field(default_factory=list)  # in the order of their numbers
    detection: dict[str, Any] = field(default_factory=dict)  # of a detector: `repghost.detection.boxes.BoxRule`
