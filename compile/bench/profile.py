"""Time layer by layer: a build of a bundle whose steps can be run one by one, measured by its runner.

The bundle itself stays as it is. Its program is read again from the files of its run, its objects come from the cache
of that run where they are still there, and `model.so` is linked with two more functions.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.bundle.layers import bundle_layers
from compile.bundle.manifest import FILES, SECTIONS, Bundle, bundle_target, check_bundle, write_bundle
from compile.ir.float_from_graph import float_program
from compile.link.toolchain import link_model
from compile.machine.execute import machine_for, run_runner
from compile.machine.facts import describe_machine
from compile.passes.layers import Layer
from compile.report.run_report import QDQ_FILE
from compile.stages.compile_networks import Compilation, compile_all
from compile.stages.quantize import FUSED_FILE
from compile.stages.quantize import read_program as read_integer_program
from compile.storage.stage_cache import StageCache
from compile.targets.precisions import INT8, parse_precisions
from compile.targets.table import Target, host_target
from repghost.data.images.preprocess import Preprocess
from repghost.errors import IntegrityError, ToolMissingError, UsageError, command, option
from repghost.tables import make_table, text_lines

if TYPE_CHECKING:
    from compile.ir.memory_plan import AnyProgram

FORMAT = "repghost-profile"
VERSION = 1
WARMUP = 20
HEADS = ("layer", "operator", "output", "#MACs", "#min us", "#median us", "#share", "#GMAC/s", "kernel")


def profile_bundle(
    path: Path,
    variant: str | None,
    runs: int,
    weights: Path | None = None,
    keep: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure each layer of a bundle on this machine and return the result as JSON values.

    Args:
        path: a bundle in the folder of its run, build/<model>/<target>/<precision>.
        variant: the instruction set; the best one by default.
        runs: measured inferences.
        weights: the QDQ file of an int8 bundle, or the float checkpoint of another, where it is not in that folder.
        keep: where to leave the profiling bundle, for a device.
        say: called with a line before each step that takes time.

    Raises:
        ToolMissingError: when this machine is not the bundle's.
        IntegrityError: when the program is not the bundle's.
    """
    bundle = check_bundle(path)
    target = bundle_target(bundle)
    foreign = host_target() is not target
    if foreign and keep is None:
        raise ToolMissingError(
            f"{path} is for {target.name}, which this machine is not. Add {option('keep', 'DIR')}: the profiling "
            "bundle is left there, to be copied to a device."
        )
    say("building the profiling bundle")
    with tempfile.TemporaryDirectory(prefix="repghost-profile-") as folder:
        made = make_profiling_bundle(bundle, target, keep or Path(folder) / "bundle", weights)
        if foreign:
            raise ToolMissingError(
                f"{made.path} is ready, and this machine does not run {target.name} code. Copy it to a device and run "
                "'./repghost-run --profile' there."
            )
        arguments = ["--profile", "--runs", str(runs), "--warmup", str(WARMUP)]
        arguments += ["--variant", variant] if variant else []
        before = os.getloadavg()
        measured = run_runner(made, machine_for(target, target.variants[0]), arguments)
        after = os.getloadavg()
    result = join_layers(bundle, measured)
    return {**result, "machine": describe_machine(), "load_before": list(before), "load_after": list(after)}


def make_profiling_bundle(bundle: Bundle, target: Target, path: Path, weights: Path | None = None) -> Bundle:
    """Write the bundle once more with a model.so whose steps can be run one by one.

    Args:
        bundle: from `check_bundle`.
        target: what it is for.
        path: the folder to write.
        weights: see `profile_bundle`.
    """
    (precision,) = parse_precisions(str(bundle.manifest["precision"]))
    run_folder = bundle.path.absolute().parent.parent
    program = read_program(bundle, weights or run_folder / (QDQ_FILE if precision is INT8 else FUSED_FILE))
    cache = StageCache(run_folder.parent / ".cache")
    networks, _ = compile_all([Compilation(program, target, precision)], cache, jobs=os.cpu_count() or 1)
    model = link_model(networks[0], target, _info(bundle), profiling=True)
    files = {name: bundle.read(name) for name in FILES}
    return write_bundle(path, {**files, "model.so": model}, {key: bundle.manifest[key] for key in SECTIONS})


def read_program(bundle: Bundle, source: Path) -> AnyProgram:
    """Return the program a bundle was compiled from.

    Args:
        bundle: gives precision, Preprocess and the digest the program must have.
        source: a QDQ file for int8, a float checkpoint otherwise.

    Raises:
        UsageError: when the file is not there.
        IntegrityError: when it holds another program.
    """
    if not source.is_file():
        raise UsageError(
            f"{source} is not there: the profiling build starts from it. Give the file with {option('weights')}, or "
            f"run '{command('compile')}' again."
        )
    preprocess = Preprocess.from_dict(bundle.manifest["preprocess"])
    program = read_integer_program(source, preprocess) if _is_int8(bundle) else _float_program(source, preprocess)
    if program.digest != bundle.manifest["program_digest"]:
        raise IntegrityError(
            f"{source} holds the program {program.digest[:12]}, but {bundle.path} was compiled from "
            f"{str(bundle.manifest['program_digest'])[:12]}. Run '{command('compile')}' again."
        )
    return program


def _is_int8(bundle: Bundle) -> bool:
    return bool(bundle.manifest["precision"] == INT8.name)


def _float_program(source: Path, preprocess: Preprocess) -> AnyProgram:
    from repghost.checkpoints.checkpoint import load_model
    from repghost.graph.trace import graph_of
    from repghost.network.fuse import fuse

    return float_program(graph_of(fuse(load_model(source))), preprocess)


def _info(bundle: Bundle) -> dict[str, Any]:
    """Return what `rg_info` of the bundle's model.so says, from the manifest."""
    manifest = bundle.manifest
    same = ("abi", "precision", "program_digest", "input", "classes", "preprocess", "variants")
    return {
        **{key: manifest[key] for key in same},
        "model": manifest["model"]["name"],
        "target": manifest["target"]["name"],
    }


def join_layers(bundle: Bundle, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the times of `repghost-run --profile` with the layers they belong to.

    Args:
        bundle: carries the layers.
        measured: the object the runner printed.

    Raises:
        IntegrityError: when there are more or fewer steps than layers.
    """
    variant = str(measured["variant"])
    rows, steps = bundle_layers(bundle, variant), measured["steps"]
    if len(rows) != len(steps):
        raise IntegrityError(f"{len(steps)} steps were measured, but {bundle.path} names {len(rows)} layers.")
    total = sum(float(step["min_us"]) for step in steps)
    return {
        "format": FORMAT,
        "version": VERSION,
        "bundle": bundle.digest,
        "model": bundle.manifest["model"]["name"],
        "precision": bundle.manifest["precision"],
        "size": bundle.size,
        "variant": variant,
        "threads": 1,
        "runs": measured["runs"],
        "warmup": measured["warmup"],
        "whole": {"min_ms": measured["min_ms"], "median_ms": measured["median_ms"]},
        "layers": [_layer_entry(row, step, total) for row, step in zip(rows, steps, strict=True)],
    }


def _layer_entry(row: Layer, step: dict[str, float], total: float) -> dict[str, Any]:
    microseconds = float(step["min_us"])
    return {
        **{key: value for key, value in asdict(row).items() if key != "reason"},
        "min_us": microseconds,
        "median_us": float(step["median_us"]),
        "share": microseconds / total if total else 0.0,
        "gmacs_per_second": row.macs / microseconds / 1e3 if microseconds else 0.0,
    }


def render_profile(result: dict[str, Any]) -> str:
    """Return the result of `profile_bundle` as text: a row per layer, then the sum of each operator."""
    layers = result["layers"]
    cells = [
        (
            str(it["name"]),
            str(it["operator"]),
            "x".join(str(side) for side in it["output"]),
            f"{it['macs']:,}",
            f"{it['min_us']:.2f}",
            f"{it['median_us']:.2f}",
            f"{it['share']:.1%}",
            f"{it['gmacs_per_second']:.1f}" if it["macs"] else "",
            str(it["kernel"]),
        )
        for it in layers
    ]
    whole = result["whole"]
    lines = text_lines(make_table(HEADS, cells))
    lines += ["", *_operator_lines(layers)]
    lines.append("")
    lines.append(
        f"{result['model']} {result['precision']}, {result['size']} px, instruction set {result['variant']}, 1 thread, "
        f"{result['runs']} runs on {result['machine']['core']}, load {result['load_before'][0]:.2f}"
    )
    lines.append(
        f"sum of the layers {sum(it['min_us'] for it in layers) / 1e3:.3f} ms (of their minima, each with one reading "
        f"of the clock), one inference {whole['min_ms']:.3f} ms (minimum), {whole['median_ms']:.3f} ms (median)"
    )
    return "\n".join(lines)


def _operator_lines(layers: list[dict[str, Any]]) -> list[str]:
    """Return one line per kind of operator, the slowest first."""
    kinds = dict.fromkeys(str(it["operator"]) for it in layers)
    sums = {kind: [it for it in layers if it["operator"] == kind] for kind in kinds}
    rows = []
    for kind, group in sorted(sums.items(), key=lambda item: -sum(it["min_us"] for it in item[1])):
        macs, microseconds = sum(it["macs"] for it in group), sum(it["min_us"] for it in group)
        rate = f"{macs / microseconds / 1e3:.1f}" if macs and microseconds else ""
        share = f"{sum(it['share'] for it in group):.1%}"
        rows.append((kind, str(len(group)), f"{macs:,}", f"{microseconds:.1f}", share, rate))
    return text_lines(make_table(("operator", "#layers", "#MACs", "#us", "#share", "#GMAC/s"), rows))
