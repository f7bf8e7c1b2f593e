"""What the layers of a network are computed in: `repghost.explain`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from calib.importer.names import is_named
from calib.importer.onnx_file import is_quantized
from compile.bench.count import CountRequest, count_bundle, find_cpu
from compile.bench.cycles_page import render_cycles
from compile.bundle.layers import bundle_layers
from compile.bundle.manifest import ENGINE_TARGETS, check_bundle
from compile.cycles.cores import find_core
from compile.frontend.qdq_file import read_qdq_as_given
from compile.passes import explain as explain_graph
from compile.passes.layers import Layer, format_table, layers
from compile.report.layers_page import LayersPage, render_layers_page
from compile.report.run_report import read_report
from compile.stages.trial import quantized_on_noise
from repghost.api.bundles import as_file, as_path
from repghost.errors import IntegrityError, ToolMissingError, UsageError, option, unknown_value
from repghost.terminal import Shown

if TYPE_CHECKING:
    from repghost.api.compiled import CompiledBundle
    from repghost.api.quantized import QuantizedNetwork

QUANTIZED, FLOAT, BUNDLE = "quantized", "float", "bundle"


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Shown):
    """The layers of a network: operator, shapes, multiply-adds, bytes of weights and arithmetic.

    Attributes:
        source: the file, the name or the folder.
        kind: "quantized", "float" or "bundle".
        digest: of the integer program.
        layers: in execution order; one that integers cannot compute says why.
        about: of a bundle its target, precision and instruction set, and all of its instruction sets.
        notes: what to know of the network.
        count: of a bundle and a core, what `compile.bench.count.count_bundle` counted of every layer.
        core: that core.
        errors: how far int8 is from float32 after each layer, as a share of the signal; {} where no report of the run
            lies beside it.
    """

    source: str
    kind: str
    digest: str
    layers: tuple[Layer, ...]
    about: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    count: Mapping[str, Any] | None = None
    core: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UsageError when a layer cannot be computed in integers, so that the network cannot be compiled."""
        count = sum(bool(row.reason) for row in self.layers)
        if count and self.kind != BUNDLE:
            raise UsageError(
                f"{self.source}: {count} of {len(self.layers)} layers cannot be computed in integers, so it cannot be "
                "compiled as it is. Change the layers that are named where the network is exported."
            )

    def __repr__(self) -> str:
        if self.count is not None:
            return render_cycles(self.count, self.core)
        return f"{format_table(self.layers).rstrip()}\nprogram digest {self.digest}"

    def to_html(self) -> str:
        """Return one page that needs nothing else: the network block by block, with the cost and error of each layer.

        The cost is modelled cycles where a core was given, multiply-adds otherwise.
        """
        costs: list[float] = [row.macs for row in self.layers]
        unit, lines = "multiply-adds", [f"{len(self.layers)} layers, program digest {self.digest}"]
        if self.count is not None:
            known = {str(row["name"]): float(row["modelled_cycles"][self.core]) for row in self.count["layers"]}
            costs, unit = [known.get(row.name, 0.0) for row in self.layers], f"modelled cycles on {self.core}"
        if self.kind == BUNDLE:
            lines.append(", ".join(str(self.about[key]) for key in ("target", "precision", "variant")))
        if not self.errors:
            lines.append(
                "The error of int8 is not shown: it stands in the report.json of a run that was given float weights "
                "and pictures, and none of this network lies beside it."
            )
        parts = Path(self.source).resolve().parts[-3:] if self.kind == BUNDLE else (Path(self.source).name,)
        title = f"{'/'.join(parts)}: cost and error of each layer"
        return render_layers_page(LayersPage(title, lines, self.layers, costs, unit, self.errors))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        about = {key: value for key, value in self.about.items() if key != "variants"}
        if self.count is not None:
            return {"file": self.source, "program_digest": self.digest, "core": self.core, **self.count}
        rows = [asdict(row) for row in self.layers]
        return {"file": self.source, "program_digest": self.digest, **about, "layers": rows}


def explain(
    network: str | os.PathLike[str] | CompiledBundle | QuantizedNetwork,
    *,
    variant: str | None = None,
    preprocess: str | os.PathLike[str] | None = None,
    core: str | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> Explanation:
    """Return the layers of a network, with costs, arithmetic, and the reason for each that integers cannot compute.

    Args:
        network: what `repghost.quantize` or `compile` returned, a QDQ file, the folder of a bundle, a float ONNX file,
            or "timm:NAME" or "torchvision:NAME", which gets random weights; a float network is quantized on noise
            first, to see what its layers become.
        variant: the instruction set of a bundle to show; None: its fastest.
        preprocess: JSON, for a file that does not say how images are prepared.
        core: of an arm64 bundle, e.g. "cortex-a55": every layer is counted under emulation, and shown with the cycles
            it is modelled to take there, the least they could be, and what it waits for.
        weights: with `core`: the float network, where it is not beside the bundle.

    Raises:
        UsageError: when the network cannot be read, or an argument has no effect on it.
        IntegrityError: when a bundle was changed.
    """
    with as_file(network) as path:
        if core is not None and not path.is_dir():
            raise UsageError(
                f"{option('core', core)} needs the folder of an arm64 bundle, not {path}: only what is compiled is "
                "counted."
            )
        found = _explained(path, variant, as_path(preprocess))
        found = replace(found, errors=_errors(path, found.digest))
        found = found if core is None else _on_core(found, core, variant, as_path(weights))
    return replace(found, source=str(getattr(network, "name", path))) if hasattr(network, "quantized") else found


def _explained(path: Path, variant: str | None, given: Path | None) -> Explanation:
    """Return the layers of a file, a folder or a name."""
    if path.is_dir():
        if given is not None:
            raise UsageError(f"{option('preprocess', given)} has no effect: a bundle says how pictures are prepared.")
        return _of_bundle(path, variant)
    if variant is not None:
        raise UsageError(
            f"{option('variant', variant)} needs the folder of a bundle, not {path}: a QDQ file is not compiled."
        )
    if not is_named(str(path)) and is_quantized(path):
        rows, digest = _layers_of(path, given)
        return Explanation(str(path), QUANTIZED, digest, rows, {})
    notes: list[str] = []
    with TemporaryDirectory(prefix="repghost-explain-") as folder:
        file = Path(folder) / "trial.qdq.onnx"
        file.write_bytes(quantized_on_noise(str(path), given, notes.append))
        rows, digest = _layers_of(file, None)
    return Explanation(str(path), FLOAT, digest, rows, {}, tuple(note.removeprefix("note: ") for note in notes))


def _of_bundle(path: Path, variant: str | None) -> Explanation:
    """Return the layers of a bundle, each with its kernel."""
    bundle = check_bundle(path)
    if bundle.target_name in ENGINE_TARGETS:
        raise UsageError(f"{path} is for {bundle.target_name}; its promise.txt says what each layer has to become.")
    variants = [str(name) for name in bundle.manifest["variants"]]
    if variant is not None and variant not in variants:
        raise unknown_value("variant of this bundle", variant, variants)
    chosen = variant or variants[-1]
    about = {"target": bundle.target_name, "precision": bundle.manifest["precision"], "variant": chosen}
    rows = bundle_layers(bundle, chosen)
    return Explanation(
        str(path), BUNDLE, str(bundle.manifest["program_digest"]), tuple(rows), {**about, "variants": variants}
    )


def _on_core(found: Explanation, name: str, variant: str | None, weights: Path | None) -> Explanation:
    """Return the explanation of a bundle with every layer counted and its cycles modelled for a core."""
    core = find_core(name)
    request = CountRequest(Path(found.source), find_cpu(core.code[0]), variant, per_layer=True, weights=weights)
    count = count_bundle(request, lambda _: None)
    if core.name not in count["whole"]["modelled_cycles"]:
        raise ToolMissingError(f"cycles cannot be modelled: {count['not_modelled']}")
    about = {**found.about, "variant": count["variant"]}
    return replace(found, about=about, count=count, core=core.name)


def _errors(path: Path, digest: str) -> dict[str, float]:
    """Return the error of each layer that the report of the run measured, {} where there is no such report."""
    folder = path.resolve().parent.parent if path.is_dir() else path.resolve().parent
    try:
        quantization = read_report(folder).get("quantization")
    except (UsageError, IntegrityError):  # none, or of another program; the layers can be told without it
        return {}
    if (
        not isinstance(quantization, dict)
        or quantization.get("program_digest") != digest
        or not isinstance(quantization.get("sqnr"), dict)
    ):
        return {}
    found = quantization["sqnr"].get("decibels")
    if not isinstance(found, dict):
        return {}
    return {str(name): 10 ** (-value / 20) for name, value in found.items() if isinstance(value, int | float)}


def _layers_of(file: Path, preprocess: Path | None) -> tuple[tuple[Layer, ...], str]:
    """Return the layers of a QDQ file and its program digest."""
    graph = read_qdq_as_given(file, preprocess)
    return layers(graph, explain_graph(graph)), graph.digest
