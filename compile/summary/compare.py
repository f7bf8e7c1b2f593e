"""Two summaries side by side: what changed, and whether something became worse than allowed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from compile.summary.facts import Summary
from compile.summary.tables import percent

WORSE = "worse than allowed"  # in the sentence of a regression


@dataclass(frozen=True)
class Margins:
    """How much worse a figure may be before it is a regression.

    Args:
        points: of top-1.
        time: share of a time; clocks and neighbours move times by a few percent.
        count: share of an instruction count or a size; these do not move by themselves.
    """

    points: float = 0.1
    time: float = 0.1
    count: float = 0.005


@dataclass(frozen=True)
class Difference:
    """One figure that is not what it was."""

    what: str
    before: str
    after: str
    regression: bool

    @property
    def sentence(self) -> str:
        """The difference in words."""
        return f"{self.what}: {self.before} -> {self.after}{f' ({WORSE})' if self.regression else ''}"


@dataclass(frozen=True)
class _Reading:
    """A figure, how it is written, and by how much it may grow worse; better is smaller or larger."""

    value: float
    text: str
    allowed: float  # absolute
    smaller_is_better: bool


def compare(old: Summary, new: Summary, margins: Margins) -> list[Difference]:
    """Return what changed from `old` to `new`, in the order of the new one; what vanished comes last."""
    before, after = _readings(old, margins), _readings(new, margins)
    found = []
    for key, reading in after.items():
        earlier = before.get(key)
        name = ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
        if earlier is None:
            found.append(Difference(name, "not measured", reading.text, False))
        elif earlier.value != reading.value:
            worse = reading.value - earlier.value if reading.smaller_is_better else earlier.value - reading.value
            found.append(Difference(name, earlier.text, reading.text, worse > earlier.allowed))
    gone = [key for key in before if key not in after]
    names = [", ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in gone]
    found += [Difference(name, before[key].text, "not measured", False) for key, name in zip(gone, names, strict=True)]
    return found


def _readings(summary: Summary, margins: Margins) -> Mapping[Hashable, _Reading]:
    found: dict[Hashable, _Reading] = {}
    for network in summary.networks:
        head = (network.model, f"{network.size} px", network.data, network.data_sha256[:12])
        points = margins.points / 100
        if network.fp32 is not None:
            share = network.fp32
            found[*head, "fp32 top-1"] = _Reading(share.top1, f"{percent(share.top1)} %", points, False)
        for method in network.methods:
            top1 = method.share.top1
            key = (*head, f"int8 top-1, {method.kind} {method.name}")
            found[key] = _Reading(top1, f"{percent(top1)} %", points, False)
    for detector in summary.detectors:
        spec = (detector.model, f"{detector.size} px", detector.build, detector.data, f"{detector.pictures} pictures")
        for name, value in (("AP", detector.ap), ("AP50", detector.ap50)):
            if value is not None:
                found[*spec, name] = _Reading(value, f"{percent(value)} %", margins.points / 100, False)
    for speed in (speed for speed in summary.speeds if speed.kind != "estimated"):  # what they follow from is compared
        share_allowed = margins.time if speed.unit == "ms" else margins.count
        threads = f"{speed.threads} thread{'s' * (speed.threads > 1)}"
        place = (speed.machine, speed.variant, threads, speed.unit)
        spec = (speed.model, f"{speed.size} px", speed.runtime, speed.precision, speed.made_by)
        found[*spec, *place] = _Reading(
            speed.value, f"{speed.value:.6g} {speed.unit}", share_allowed * speed.value, True
        )
    for size in summary.sizes:
        build = (size.model, f"{size.size} px", f"{size.classes} classes", size.target, size.precision, "model.so")
        allowed = margins.count * size.model_bytes
        found[build] = _Reading(size.model_bytes, f"{size.model_bytes} bytes", allowed, True)
    return found
