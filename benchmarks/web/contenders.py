"""Builds of one network that take turns in a page of Chromium."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.page import Page, PageError
from benchmarks.web.tfjs_model import write_tfjs_model
from calib.importer.import_onnx import import_onnx
from compile.bench.peers import PEERS
from compile.bench.peers.inputs import PeerInputs
from compile.bench.prepare_inputs import Prepared
from compile.bench.processes import PREPARATION_LIMIT, Contender, Identity, convert
from compile.bundle.manifest import Bundle
from repghost.errors import RepGhostError
from repghost.processes import run_limited

PAGE = Path(__file__).parent / "page"
# What the page calls runtimes whose files `compile.bench.peers` makes.
RUNTIMES = {"onnxruntime": "onnxruntime-web", "litert": "LiteRT.js"}
QUANTIZED = ("litert", "int8")
QUANTIZER = Path(__file__).parent / "quantize_tflite.py"
FLOAT_ENDS = ", float32 at both ends, since LiteRT.js takes no int8 images"
ABSENT = ({"name": "TensorFlow.js int8", "reason": "its WebAssembly backend computes in float32 alone", "command": ""},)


@dataclass(frozen=True)
class Build:
    """One way to run the network in the page.

    Attributes:
        identity: what it is.
        file: of the network, below the served folder.
        runtime: of page/runtimes.js.
    """

    identity: Identity
    file: str
    runtime: str

    @property
    def options(self) -> str:
        """What `start` of the page takes, as JSON."""
        return json.dumps({"name": self.identity.name, "runtime": self.runtime, "file": self.file})


class PageContender(Contender):
    """A build that is open in a page, in place of a process of its own."""

    def __init__(self, page: Page, build: Build, warmup: int) -> None:
        """Open it.

        Raises:
            PageError: when the page cannot, takes too long, or gives scores that are no numbers.
        """
        self.identity, self._page, self._warmup = build.identity, page, warmup
        self._name = json.dumps(build.identity.name)
        started = page.run(f"start({build.options})")
        self.version, self.variant = str(started["version"]), str(started["variant"])
        self.logits = np.array(page.run(f"answers({self._name})"), np.float32)  # of every image, [N, classes]
        if not np.isfinite(self.logits).all():
            raise PageError("its scores are not finite")

    def turn(self, inferences: int) -> list[float]:
        """Return the milliseconds of each of so many inferences, after the ones that are not timed."""
        return [float(ms) for ms in self._page.run(f"turn({self._name}, {self._warmup}, {inferences})")]

    def close(self) -> None:
        """Let go of it; it ends with the page."""
        with suppress(PageError):
            self._page.run(f"stop({self._name})")


def lay_out_ours(folder: Path, bundles: Sequence[Bundle], prepared: Prepared) -> list[Build]:
    """Fill a folder with the page, its images, and our builds.

    Args:
        folder: an empty one, to be served.
        bundles: for browsers.
        prepared: the images of the network.
    """
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    _write_images(folder, prepared)
    builds = []
    for bundle in bundles:
        precision = str(bundle.manifest["precision"])
        (folder / f"repghost-{precision}").symlink_to(bundle.path.absolute(), target_is_directory=True)
        identity = Identity(f"repghost {precision}", "repghost", precision, "this bundle", ours=True)
        builds.append(Build(identity, f"repghost-{precision}", "repghost"))
    return builds


def lay_out_others(
    folder: Path, prepared: Prepared, modules: Path, python: Path | None, say: Callable[[str], None]
) -> tuple[list[Build], list[dict[str, str]]]:
    """Add the other runtimes and every form of the network that they take.

    Args:
        folder: that of `lay_out_ours`.
        prepared: what they start from.
        modules: from `install_packages`.
        python: the interpreter that has the converters.
        say: is given one line per step.

    Returns:
        The builds, and what could not be had: its name, and why.
    """
    (folder / "node_modules").symlink_to(modules, target_is_directory=True)
    builds, absent = [], list(ABSENT)
    for name, shown in RUNTIMES.items():
        for form in PEERS[name].forms:
            say(f"converting for {shown} {form.name}")
            note = FLOAT_ENDS if (name, form.precision) == QUANTIZED else ""
            identity = Identity(f"{shown} {form.name}", shown, form.precision, form.made_by + note)
            try:
                path = convert(PEERS[name], form, prepared.inputs, python)
                path = _with_float_ends(prepared.inputs, python) if note else path
            except RepGhostError as error:
                absent.append({"name": identity.name, "reason": str(error), "command": PEERS[name].command(python)})
                continue
            file = f"{name}-{form.name}{path.suffix}"
            (folder / file).symlink_to(path.absolute())
            builds.append(Build(identity, file, name))
    identity = Identity("TensorFlow.js fp32", "TensorFlow.js", "fp32", "written from the fused network, NHWC")
    try:
        path = _write_tfjs(folder / "tfjs", prepared)
    except RepGhostError as error:
        absent.append({"name": identity.name, "reason": str(error), "command": ""})
    else:
        builds.append(Build(identity, str(path.relative_to(folder)), "tfjs"))
    return builds, absent


def _with_float_ends(inputs: PeerInputs, python: Path | None) -> Path:
    """Return the network in int8 that takes and gives float32; its float form is converted already."""
    source, path = (inputs.folder / f"litert-{it}.tflite" for it in ("fp32", "int8-float-ends"))
    if not path.exists():
        command = [str(python or sys.executable), str(QUANTIZER), str(source), str(inputs.inputs), str(path)]
        done = run_limited(command, PREPARATION_LIMIT, name="AI Edge Quantizer", advice="Compare without it.")
        if done.returncode:
            raise RepGhostError(f"AI Edge Quantizer failed: {done.stderr.strip()[-300:]}")
    return path


def _write_tfjs(folder: Path, prepared: Prepared) -> Path:
    size = prepared.images.shape[1:3]
    return write_tfjs_model(import_onnx(prepared.inputs.source("onnx"), size).graph, size, folder)


def _write_images(folder: Path, prepared: Prepared) -> None:
    """Write the images as bytes [N, H, W, C] and normalized, float32 [N, C, H, W]."""
    inputs: PeerInputs = prepared.inputs
    count, height, width, channels = prepared.images.shape
    facts: dict[str, Any] = {"images": count, "height": height, "width": width, "channels": channels}
    (folder / "inputs.json").write_text(json.dumps(facts))
    (folder / "inputs.bin").write_bytes(np.ascontiguousarray(inputs.load_inputs(), "<f4").tobytes())
    (folder / "pictures.bin").write_bytes(prepared.images.tobytes())
