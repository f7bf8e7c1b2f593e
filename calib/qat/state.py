"""The state of a training under quantization between two steps: on disk, whole or not at all, and back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from calib.qat.candidates import BoxScore, Candidate, Candidates, Quantization, Score
from calib.qat.weights import layers_of
from calib.settings.quantspec import QuantSpec
from repghost.checkpoints.state_file import read_values, weights_in, write_values
from repghost.errors import UsageError
from repghost.graph.digest import graph_digest
from repghost.graph.operators import Graph
from repghost.training.core.snapshot import Snapshot, parts_in
from repghost.untrusted import parse_json

VERSION = 1
TEXT_LIMIT = 64 << 20  # bytes of JSON: the scales of a large network by channel


@dataclass(frozen=True)
class RunKey:
    """What decides the result of a run; a state is continued by the same one alone."""

    settings: str  # JSON
    start: str  # digest of the calibrated network
    images: str  # digest of the labels of the training and the held-out images, and of their places
    teacher: str  # digest of its weights, empty for the float network
    processes: int

    def differing(self, other: RunKey) -> list[str]:
        """Return the names of what differs, settings one by one."""
        mine, theirs = (json.loads(key.settings) for key in (self, other))
        names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        what = {"start": "the network, its config or its calibration pictures", "images": "the training pictures"}
        rest = [
            name for name in ("start", "images", "teacher", "processes") if getattr(self, name) != getattr(other, name)
        ]
        return names + [what.get(name, name) for name in rest]


@dataclass(frozen=True, eq=False, kw_only=True)
class QatState(Snapshot):
    """Everything a resumed run needs, beside what it computes again: the calibrated start and the float predictions."""

    key: RunKey
    epochs: int  # done, with their candidates
    candidates: tuple[Candidate, ...]
    chosen: str  # name of the candidate that is left
    network: tuple[dict[str, Tensor], str] | None  # its weights, and its scales as JSON; None: the calibrated start


def start_digest(start: Quantization) -> str:
    """Return the SHA-256 of a calibrated network."""
    graph, spec = start
    return hashlib.sha256(json.dumps([graph_digest(graph), spec.to_dict()]).encode()).hexdigest()


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def take_state(key: RunKey, epochs: int, snapshot: Snapshot, candidates: Candidates) -> QatState:
    """Return the state of a run between two steps."""
    assert candidates.chosen is not None and candidates.network is not None
    graph, spec = candidates.network
    tensors = {
        f"{kind} {op.name}": torch.from_numpy(np.ascontiguousarray(values))
        for op in layers_of(graph)
        for kind, values in (("weight", op.weight), ("bias", op.bias))
    }
    at_start = candidates.chosen is candidates.found[0]
    return QatState(
        key=key,
        epochs=epochs,
        candidates=tuple(candidates.found),
        chosen=candidates.chosen.name,
        network=None if at_start else (tensors, json.dumps(spec.to_dict())),
        **snapshot.parts(),
    )


def write_state(path: Path, state: QatState) -> None:
    """Write a state whole or not at all."""
    tensors, spec = state.network or ({}, "")
    write_values(
        path,
        VERSION,
        {
            "kind": "qat",
            "key": json.dumps(dataclasses.asdict(state.key)),
            "epochs": state.epochs,
            "candidates": json.dumps([one.to_dict() for one in state.candidates]),
            "objectives": {one.name: torch.from_numpy(one.score.objective) for one in state.candidates},
            "chosen": state.chosen,
            "weights": tensors,
            "spec": spec,
            **state.values(),
        },
    )


def read_state(path: Path, key: RunKey) -> QatState:
    """Return the state in a file.

    Args:
        path: from `write_state`.
        key: of the run that goes on.

    Raises:
        UsageError: when the file is something else, or belongs to another run.
    """
    state = read_values(path, VERSION, "a state of training under quantization", _state)
    if different := state.key.differing(key):
        raise UsageError(
            f"{path} belongs to a run with other values of {', '.join(different)}; resume with the same ones, or "
            "remove the file to start anew."
        )
    return state


def _state(values: Mapping[str, Any]) -> QatState:
    if values["kind"] != "qat":
        raise UsageError("it is of another kind of training.")
    objectives = weights_in(values, "objectives")
    records = parse_json(values["candidates"], "its candidates", TEXT_LIMIT)
    kind: type[_Record] | type[_BoxRecord] = _BoxRecord if records and "ap50" in records[0] else _Record
    found: list[_Record | _BoxRecord] = msgspec.convert(records, list[kind])  # type: ignore[valid-type]
    candidates = tuple(Candidate(record.name, record.score(objectives[record.name])) for record in found)
    weights, spec = weights_in(values, "weights"), values["spec"]
    return QatState(
        key=msgspec.convert(parse_json(values["key"], "its key", TEXT_LIMIT), RunKey),
        epochs=_count(values["epochs"]),
        candidates=candidates,
        chosen=str(values["chosen"]),
        network=(weights, str(spec)) if weights else None,
        **parts_in(values),
    )


class _Record(msgspec.Struct):
    """A candidate's figures."""

    name: str
    top1: float
    loss: float
    agreement: float
    divergence: float

    def score(self, objective: Tensor) -> Score:
        """Return them with what training minimizes, of each image."""
        return Score(self.top1, self.loss, self.agreement, self.divergence, objective.double().numpy())


class _BoxRecord(msgspec.Struct):
    """A detector candidate's figures."""

    name: str
    ap50: float
    loss: float

    def score(self, objective: Tensor) -> BoxScore:
        """Return them with what training minimizes, of each image."""
        return BoxScore(self.ap50, self.loss, objective.double().numpy())


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 10_000:
        raise UsageError(f"its epochs are {value!r:.80}.")
    return value


def restore_candidates(state: QatState, candidates: Candidates) -> None:
    """Put the candidates of a state back, where the start is the only one.

    Raises:
        UsageError: when it does not fit.
    """
    assert candidates.network is not None
    try:
        if state.network is not None:
            candidates.network = _rebuilt(candidates.network[0], *state.network)
        candidates.found = [candidates.found[0], *state.candidates[1:]]
        candidates.chosen = next(one for one in candidates.found if one.name == state.chosen)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, StopIteration) as error:
        raise UsageError(f"the state to resume from belongs to another network ({error}).") from error


def _rebuilt(graph: Graph, tensors: Mapping[str, Tensor], spec: str) -> Quantization:
    """Return the network that was chosen: the graph with other weights, and its scales."""
    operators = {}
    for op in layers_of(graph):
        weight, bias = (tensors[f"{kind} {op.name}"].float().numpy() for kind in ("weight", "bias"))
        if weight.shape != op.weight.shape or bias.shape != op.bias.shape:
            raise ValueError(f"layer {op.name!r} has another shape")
        operators[op.name] = replace(op, weight=weight, bias=bias)
    found = QuantSpec.from_dict(parse_json(spec, "its scales", TEXT_LIMIT))
    return replace(graph, operators=tuple(operators.get(op.name, op) for op in graph.operators)), found
