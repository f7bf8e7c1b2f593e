"""Whether a half-precision build predicts what float32 does: real images through the bundle itself, under emulation.

It takes minutes, since the emulator computes every half-precision number by software. Predictions are kept in small
parts, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.shared.bundles import fresh_bundles
from compile.bundle.manifest import Bundle, bundle_target
from compile.machine.execute import Machine, machine_for, run_runner_lines
from compile.stages.evaluate import float_predictions
from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import StageCache
from compile.subject.load import load_subject
from compile.subject.request import Request, SubjectRequest
from compile.subject.subject import RepGhostSubject, Subject
from compile.targets.precisions import FP16
from compile.targets.table import ARM64
from repghost.evaluation.accuracy import paired_difference

FP16_IMAGES = 1000
PART = 50  # images of one process and one measurement


def compare_predictions(output: Path, images: int, store: Measurements, say: Callable[[str], None]) -> dict[str, Any]:
    """Return on how many images the fp16 bundle of the bundled network predicts what PyTorch does in float32.

    Args:
        output: the folder of builds; the bundle is made where it is absent.
        images: how many of the bundled test images.
        store: keeps predictions.
        say: is given one line per part.
    """
    subject = load_subject(SubjectRequest(calibration_images=1, test_images=images))
    request = Request(ARM64.name, (FP16,), output=output, test_images=images, fetch=False, host=False)
    (bundle,) = fresh_bundles(request, subject.folder, store, say)
    assert isinstance(subject, RepGhostSubject) and subject.test is not None  # the bundled network has both
    before = float_predictions(subject, subject.test, StageCache(store.folder))
    after = predictions(bundle, subject.test.images, store, say)
    return _record(subject, bundle, before, after)


def _record(subject: Subject, bundle: Bundle, before: NDArray[np.int64], after: NDArray[np.int64]) -> dict[str, Any]:
    assert subject.test is not None
    return {
        "precision": FP16.name,
        "model": subject.name,
        "data": subject.test.origin["data"],
        "split": subject.test.origin["split"],
        "pictures": len(after),
        "agreeing": int(np.count_nonzero(before == after)),
        "change": paired_difference(before, after, subject.test.labels).to_dict(),
        "program_digest": bundle.manifest["program_digest"],
        "machine": _machine(bundle).name,
    }


def _machine(bundle: Bundle) -> Machine:
    target = bundle_target(bundle)
    return machine_for(target, target.variant(str(bundle.manifest["variants"][-1])))


def predictions(
    bundle: Bundle, images: NDArray[np.uint8], store: Measurements, say: Callable[[str], None] = print
) -> NDArray[np.int64]:
    """Return the class a bundle gives each image, by its own runner, int64 [N].

    Args:
        bundle: from `check_bundle`.
        images: uint8 [N, height, width, 3].
        store: keeps the predictions of each part.
        say: is given one line per part.
    """
    machine, model = _machine(bundle), sha256(bundle.read("model.so"))

    def part(start: int) -> list[int]:
        chosen = images[start : start + PART]
        key = {"model": model, "machine": machine.name, "pictures": sha256(chosen.tobytes())}
        found = store.record("answers", key, partial(_classify, bundle, machine, chosen))
        say(f"answers to pictures {start + 1} to {start + len(chosen)} of {len(images)}, on {machine.name}")
        return list(found)

    with ThreadPoolExecutor(2) as pool:
        return np.array([label for found in pool.map(part, range(0, len(images), PART)) for label in found])


def _classify(bundle: Bundle, machine: Machine, images: NDArray[np.uint8]) -> list[int]:
    with tempfile.TemporaryDirectory(prefix="repghost-answers-") as name:
        paths = []
        for number, image in enumerate(images):
            path = Path(name) / f"{number}.ppm"
            path.write_bytes(b"P6 %d %d 255\n" % image.shape[1::-1] + image.tobytes())
            paths.append(str(path))
        lines = run_runner_lines(bundle, machine, ["--top", "1", "--classify", *paths])
    return [int(line["top"][0]["class"]) for line in lines]
