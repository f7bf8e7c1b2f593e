"""From a network to bundles: `repghost.compile`, and what it returns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile import pipeline
from compile.bundle.manifest import check_bundle
from compile.report.run_page import summary_lines
from compile.subject.request import Request
from compile.subject.subject import QuantizedSubject, Subject
from compile.targets.precisions import INT8, default_precisions, parse_precisions
from compile.tensorrt.report import summary_lines as jetson_lines
from repghost.api import evaluation
from repghost.api.accepted.calibration import CALIBRATION_IMAGES, ConfigLike, config_of
from repghost.api.accepted.images import ImagesLike
from repghost.api.accepted.pixels import Pixels, check_pixels
from repghost.api.accepted.sources import open_source
from repghost.api.benchmarks import bench as measuring
from repghost.api.boards import deployment
from repghost.api.bundles import Say, as_path, is_jetson, is_quantized_file
from repghost.api.dataset import Dataset, place_of
from repghost.api.models import Model, load
from repghost.api.networks.opened import NetworkLike, PreprocessLike, read_as_preprocess
from repghost.api.quantization import quantize
from repghost.api.quantized import QuantizedNetwork
from repghost.api.shown.html import page, table
from repghost.api.shown.progress import Progress, follow
from repghost.api.subjects import subject_of
from repghost.errors import UsageError, option
from repghost.evaluation.predictor import Predictor
from repghost.sizes import Size


@dataclass(frozen=True, eq=False, repr=False)
class CompiledBundle:
    """What `repghost.compile` made: the folder of a run, and in it the bundle that was asked for.

    Attributes:
        folder: of the run: report.md, the quantized network, and a folder for each bundle.
        path: of the bundle for the target, in the first precision.
        report: the report of the run as JSON values.
        notes: what to know of network and images, one sentence each.
    """

    folder: Path
    path: Path
    report: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> dict[str, Path]:
        """The folders of all bundles of the run, by target and precision, e.g. "arm64/int8"."""
        if "builds" not in self.report:
            return {self.path.name: self.path}
        return {str(build["folder"]): self.folder / str(build["folder"]) for build in self.report["builds"]}

    @property
    def digest(self) -> str:
        """The digest of the bundle; its files are checked first.

        Raises:
            IntegrityError: when one was changed.
        """
        return check_bundle(self.path).digest

    # The functions themselves: the first argument of each is this bundle.
    verify = deployment.verify
    sign = deployment.sign
    deploy = deployment.deploy
    bench = measuring.bench
    evaluate = evaluation.evaluate

    def load(self) -> Model:
        """Return the run's network on this machine, see `repghost.load`; every build of one precision agrees.

        Raises:
            UsageError: when the run has no build for this machine.
        """
        return load(self.folder, str(check_bundle(self.path).manifest["precision"]))

    def as_predictor(self) -> Predictor:
        """Return this machine's build as a function from images to logits, for `repghost.evaluate`."""
        return self.load().as_predictor()

    @property
    def summary(self) -> str:
        """What a run says at its end: accuracy, sizes, verification, latency."""
        lines = summary_lines(self.report) if "builds" in self.report else jetson_lines(self.report)
        return "\n".join(lines).strip()

    def __repr__(self) -> str:
        return f"{self.path}\n{self.summary}"

    def _repr_html_(self) -> str:
        rows = [(name, str(path)) for name, path in self.paths.items()]
        return page("\n".join([self.summary, *self.notes]), table(("bundle", "folder"), rows))

    def to_dict(self) -> dict[str, Any]:
        """Return the report of the run."""
        return dict(self.report)


NOTE = "note: "  # begins what a run tells of its network and images
POLICY = "tensorrt"  # of the target jetson


def compile(
    network: QuantizedNetwork | NetworkLike | None,
    *,
    target: str,
    data: ImagesLike = None,
    precision: str | None = None,
    config: ConfigLike = None,
    images: int = CALIBRATION_IMAGES,
    test_images: int | None = None,
    seed: int = 0,
    preprocess: PreprocessLike = None,
    labels: Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    width: str | None = None,
    size: Size | None = None,
    pixels: Pixels | None = None,
    class_order: str | None = None,
    class_map: str | os.PathLike[str] | None = None,
    val_share: float | None = None,
    threads: int = 1,
    max_drop: float | None = None,
    jobs: int | None = None,
    jetpack: str = "6",
    squeeze_excite: str = "float",
    depthwise: str = "int8",
    via: str = "trtexec",
    host: bool = True,
    fetch: bool = True,
    name: str | None = None,
    output: str | os.PathLike[str] = "build",
    say: Say | None = None,
    progress: Progress = None,
) -> CompiledBundle:
    """Return the bundle of a network for a target: fused, quantized, compiled, verified, measured, with a report.

    Args:
        network: what `repghost.quantize` or `convert` returned; or a float network or a QDQ file in any form that
            `repghost.evaluate` takes; None: the bundled ones.
        target: "arm64", "android", "armv7", "armv7-static", "riscv64", "macos", "x86-64", "web", "jetson", or "host":
            this machine.
        data: images: their test split measures accuracy; of a network that is not quantized, those for calibration
            choose its scales. See `repghost.evaluate` for the forms.
        precision: "int8", "fp32" or "fp16" (arm64), separated by commas; None: int8 and fp32, of a QDQ file int8.
        config: settings of quantization, of a network that is not quantized.
        images: how many calibrate, at most.
        test_images: how many measure accuracy; None: all.
        seed: chooses images.
        preprocess: how images are prepared, where the network does not say.
        labels: names of its classes, likewise.
        weights: of a name: a weight file, "pretrained" or "random".
        width: of a RepGhostNet; another one is refused.
        size: pixels of the images, instead of the network's own.
        pixels: the range of float images, see `repghost.evaluate`.
        class_order: of a network that does not name its classes.
        class_map: a file with the class of each picture, for a set without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.
        threads: of the measured inference.
        max_drop: percentage points of top-1 that int8 may lose; None: any.
        jobs: threads that compile side by side; None: one per core.
        jetpack: of the target jetson: "5", "6" or "7".
        squeeze_excite: of the target jetson: "int8" or "float".
        depthwise: of the target jetson: "int8" or "float".
        via: of the target jetson: "trtexec" or "torch-tensorrt".
        host: build for this machine besides, which measures accuracy and latency.
        fetch: fetch an emulator where there is none.
        name: ends the name of the run's folder, to keep it beside a run of other weights or data.
        output: the folder that holds the runs.
        say: is given a line for each stage.
        progress: see `repghost.evaluate`; counts stages.

    Raises:
        UsageError: for an operator that integers cannot compute, or arguments that do not fit together.
        AccuracyGateError: when int8 loses more than `max_drop`; bundle and report are written all the same.
        IntegrityError: when two computations that have to agree do not.
    """
    for_jetson = is_jetson(target)  # a wrong name is told before anything is read
    if for_jetson and precision:
        raise UsageError(f"a bundle for Jetson always holds int8 and fp16; leave {option('precision')} out.")
    by_path = network is None or (isinstance(network, str | os.PathLike) and _is_path(data) and labels is None)
    given, settings = None, config
    if not by_path:
        check_pixels(pixels)
        if not isinstance(network, QuantizedNetwork):
            assert network is not None
            policy = POLICY if for_jetson and config is None else None
            network = quantize(
                network, data, config, policy=policy, images=_at_most(images, data), seed=seed, preprocess=preprocess,
                labels=labels, weights=weights, size=size, pixels=pixels, class_order=class_order, progress=progress,
            )  # fmt: skip
        given = subject_of(network, data, test_images, seed, pixels, class_order, for_jetson)
        settings = network.config
    elif isinstance(data, Dataset):
        place = place_of(data, class_map, val_share)
        data, class_map, val_share = place.path, place.class_map, place.val_share
    ours = is_quantized_file(network) or isinstance(given, QuantizedSubject)
    request = Request(
        target=target,
        precisions=parse_precisions(precision or (INT8.name if ours else default_precisions())),
        weights=_text(network if weights is None else weights) if given is None else None,
        model=_text(network) if given is None and weights is not None else None,
        data=Path(data) if given is None and data is not None else None,
        width=width,
        size=size,
        preprocess=None if given is not None or preprocess is None else read_as_preprocess(preprocess),
        calibration_images=images,
        test_images=test_images,
        seed=seed,
        class_order=class_order,
        class_map=as_path(class_map),
        val_share=val_share,
        output=Path(output),
        name=name,
        config=config_of(settings),
        threads=threads,
        max_drop=max_drop,
        fetch=fetch,
        jobs=jobs or os.cpu_count() or 1,
        host=host,
        jetpack=jetpack,
        squeeze_excite=squeeze_excite,
        depthwise=depthwise,
        via=via,
    )
    return _run(request, given, say, progress)


def _run(request: Request, given: Subject | None, say: Say | None, progress: Progress) -> CompiledBundle:
    """Run the pipeline and return what it made."""
    notes: list[str] = []
    with follow(progress if say is None else False, "compile", None, "stage") as done:

        def tell(line: str) -> None:
            if line.startswith(NOTE):
                notes.append(line.removeprefix(NOTE))
            if say is not None:
                say(line)
            done(1)

        report = pipeline.run(request, tell, given)
    folder = Path(report["folder"])
    place = report["builds"][0]["folder"] if "builds" in report else report["bundle"]["folder"]
    return CompiledBundle(folder, folder / str(place), report, tuple(notes))


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str | os.PathLike) and str(value) else None


def _is_path(data: ImagesLike) -> bool:
    return data is None or isinstance(data, str | os.PathLike | Dataset)


def _at_most(images: int, data: ImagesLike) -> int:
    """Return how many images calibrate: no more than a set has."""
    source = open_source(data, calibrates=True)
    return images if source.count is None else min(images, source.count)
