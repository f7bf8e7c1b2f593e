"""What a summary knows: frozen records, and the one JSON form they are written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from compile.storage.typed_json import read_record
from repghost.errors import IntegrityError, UsageError
from repghost.sizes import parse_size

FORMAT = "repghost-summary"
VERSION = 6

# How a figure came to be. Milliseconds are "measured", or "estimated" from the cycles of `compile.cycles.boards`, and
# always called so; an instruction count is "emulated", a cycle "modelled".
Kind = Literal["measured", "estimated", "emulated", "modelled", "published"]
Unit = Literal["ms", "instructions", "cycles"]
Where = Literal["host", "board", "jetson", "emulated"]
Way = Literal["ptq", "qat"]  # how a network was made int8: calibrated, or trained
Pixels = int | str  # of an input: its side, or e.g. "96x160" where height and width differ
OURS = "repghost"  # the runtime whose builds are ours


def by_size(size: Pixels) -> tuple[bool, Pixels]:
    """Return what sizes are sorted by: those of square images come first."""
    return isinstance(size, str), size


@dataclass(frozen=True)
class Share:
    """A top-1 accuracy: share in [0, 1] with its 95 % interval."""

    top1: float
    low: float
    high: float
    pictures: int


@dataclass(frozen=True)
class Change:
    """A paired difference of two top-1 shares on the same images, with its 95 % interval."""

    difference: float
    low: float
    high: float
    agreeing: int  # images that both give the same class


@dataclass(frozen=True)
class Agreement:
    """On how many images a build gives the float network's class, and of how many."""

    same: int
    pictures: int

    @property
    def share(self) -> float:
        """The part of the images."""
        return self.same / self.pictures

    @classmethod
    def of(cls, found: Mapping[str, Any] | None) -> Agreement | None:
        """Return what a benchmark says; None where it did not compare."""
        pictures, same = ((found or {}).get(key) for key in ("pictures", "with_float"))
        return cls(int(same), int(pictures)) if pictures and same is not None else None


@dataclass(frozen=True)
class Method:
    """One way a network was made int8, and what it kept."""

    name: str  # e.g. "percentile", "fused"
    kind: Way
    share: Share
    change: Change | None
    program_digest: str


@dataclass(frozen=True)
class Network:
    """Trained weights and their accuracy on one set of test images.

    Attributes:
        model: upstream's spelling, e.g. repghostnet_0_5x, or the name of another network.
        size: of the input.
        weights: where they come from, for a reader.
        weights_sha256: of their file.
        data: the set, for a reader.
        data_sha256: of the test images; two networks are compared only where it is equal. "" where a source does not
            say it.
        fp32: None for a file that was given quantized.
        methods: none where nothing was quantized.
        note: how far training got, or why something is missing.
        classes: how many; None where a source does not say it.
    """

    model: str
    size: Pixels
    weights: str
    weights_sha256: str
    data: str
    data_sha256: str
    fp32: Share | None
    methods: tuple[Method, ...]
    note: str
    source: str
    classes: int | None = None


@dataclass(frozen=True)
class Detector:
    """Average precision of one build of a detector on one set of test images, COCO's definition.

    Attributes:
        build: e.g. "arm64 int8".
        data: the set and its split, for a reader.
        ap: mean over IoU from 0.5 to 0.95; None, as `ap50`, where the set has no object.
        low: of the 95 % interval of `ap50`; None, as `high`, where it was not drawn.
    """

    model: str
    size: Pixels
    build: str
    data: str
    ap: float | None
    ap50: float | None
    low: float | None
    high: float | None
    pictures: int
    objects: int
    source: str


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One time or count of one build.

    Attributes:
        runtime: "repghost", or another one.
        machine: what ran it: a processor, "emulated cortex-a76", ...
        where: whether it was this host, a board, or none.
        variant: the instruction set.
        value: the median, or the count.
        unit: of `value`, `low` and `high`.
        low: the fastest, for times; of an estimate the low end of its range.
        high: the 90th percentile, for times; of an estimate the high end.
        agreement: with the float network; None where it was not compared.
        weights: "random" where only the shapes matter.
        made_by: who quantized it.
    """

    model: str
    size: Pixels
    runtime: str = OURS
    precision: str
    machine: str
    where: Where
    variant: str
    threads: int = 1
    kind: Kind
    value: float
    unit: Unit
    low: float | None = None
    high: float | None = None
    agreement: Agreement | None = None
    weights: str
    made_by: str = "this project"
    source: str


@dataclass(frozen=True)
class Size:
    """What a build needs: bytes of model.so, of the whole bundle, and of working memory."""

    model: str
    size: Pixels
    classes: int
    target: str
    precision: str
    model_bytes: int
    bundle_bytes: int
    workspace_bytes: int | None
    source: str


@dataclass(frozen=True)
class LayerRow:
    """Where the time and the error of one layer go."""

    name: str
    operator: str
    output: str
    macs: int
    weight_bytes: int
    arithmetic: str
    reason: str
    kernel: str
    instructions: int | None
    sqnr_db: float | None

    @classmethod
    def of(
        cls, layer: Mapping[str, Any], kernel: str, instructions: int | None = None, sqnr_db: float | None = None
    ) -> LayerRow:
        """Return the row of a layer as the report of a run and a count describe it, with the figures they have."""
        return cls(
            name=layer["name"],
            operator=layer["operator"],
            output="x".join(map(str, layer["output"])),
            macs=int(layer["macs"]),
            weight_bytes=int(layer["weight_bytes"]),
            arithmetic=layer["arithmetic"],
            reason=str(layer.get("reason", "")),
            kernel=kernel,
            instructions=instructions,
            sqnr_db=sqnr_db,
        )


@dataclass(frozen=True)
class LayerTable:
    """The layers of one build; `bundle_digest` tells whether two tables are of the same one, "" where it is unknown."""

    model: str
    size: Pixels
    build: str
    rows: tuple[LayerRow, ...]
    source: str
    bundle_digest: str = ""


@dataclass(frozen=True)
class Missing:
    """What was looked for and not measured, with the command that would."""

    what: str
    command: str


@dataclass(frozen=True)
class Source:
    """A file that was read."""

    name: str
    format: str
    sha256: str
    about: str


@dataclass(frozen=True)
class Summary:
    """Everything a page shows.

    Attributes:
        made: the date, ISO 8601.
        machine: that made the summary; each figure names its own.
        max_drop: percentage points of top-1 that int8 may lose; None: no gate.
        comparison: what is different from an earlier summary, in sentences.
    """

    made: str
    machine: str
    max_drop: float | None
    tools: Mapping[str, str]
    sources: tuple[Source, ...]
    networks: tuple[Network, ...]
    detectors: tuple[Detector, ...]
    speeds: tuple[Speed, ...]
    sizes: tuple[Size, ...]
    layers: tuple[LayerTable, ...]
    missing: tuple[Missing, ...]
    comparison: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary that `from_dict` turns back into an equal object."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], name: str) -> Summary:
        """Rebuild a summary.

        Args:
            values: as `to_dict` made them, read from a file.
            name: what messages call the file.

        Raises:
            IntegrityError: for another format or version, a missing or unknown key, a wrong type, NaN or infinity.
        """
        if values.get("format") != FORMAT or values.get("version") != VERSION:
            raise IntegrityError(
                f"{name} is {values.get('format')!r} version {values.get('version')!r}, not {FORMAT} version "
                f"{VERSION}; "
                "make it again from the files that its \"sources\" name: 'repghost report FILES -o DIR'."
            )
        body = {key: value for key, value in values.items() if key not in ("format", "version")}
        summary = read_record(body, cls, name)
        records: Iterable[Any] = (*summary.networks, *summary.speeds, *summary.sizes, *summary.layers)
        for record in (*records, *summary.detectors):
            _check_size(record.size, name)
        return summary


def _check_size(size: Pixels, name: str) -> None:
    try:
        parse_size(str(size))
    except UsageError as error:
        raise IntegrityError(f"{name}: {error}") from error
