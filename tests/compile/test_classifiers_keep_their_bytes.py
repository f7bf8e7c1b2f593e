"""What a bundle of a classifier holds, byte for byte, apart from compiled code and the versions of tools.

They were the same before networks could have several results. Devices in the field, stores of kernels and records of
accuracy go by these digests. A change that alters one of them alters every bundle there is: it is made on purpose, is
told in the changelog, and then the digests here are written again from what the failing test prints.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from calib.integer.program import Program
from calib.integer.reference import run
from calib.qdq.writer import TOOLS, serialize
from calib.quantize import Source, quantize_network
from calib.settings.config import QuantConfig
from compile.bundle.manifest import MANIFEST, write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.frontend.qdq_file import read_qdq
from compile.ir.compiled_network import CompiledNetwork, CompiledVariant
from compile.passes import lower
from compile.stages.compile_networks import Build, Compilation, model_info
from compile.stages.evaluate import Evaluation
from compile.stages.pack import manifest_sections
from compile.targets.precisions import INT8
from compile.targets.table import ARM64
from repghost.data.images.preprocess import Preprocess
from repghost.data.names.class_names import to_lines
from repghost.graph.operators import INPUT, RELU, Add, Classifier, Convolution, GlobalAveragePool, Graph

LABELS = ("one", "two, and a half", "drei ü")
PREPROCESS = Preprocess(12, 16, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
EXPECTED = {
    "qdq": "43da9f746ac075f916d2c7f0e551e0b2c65506304466d4d7dd74929ec1f7bca1",
    "program": "bd539031f552945999ac5fa50854888804040f275282a32846142f17bc2625fc",
    "weights": "f2790fa6d42fc480247b88c0f1d494655d5845d13b1da221276a64861969b7b5",
    "vectors": "f3fe19e13ab04de37db3db05558cf9371cb607e0ef36d29fb23571ac0596c207",
    "labels": "bddfa33e775f936b36ba0594c532e35770a72028121a9d08716badf97048639b",
    "rg_info": "73cbc00cbe93ca0d2e7f07b72b83db892ba60ab791beec409949b3d621a56317",
    "manifest": "14a6196891473bd8641c99582da3ed53da72bc3ac50512ef21e9428bc3133364",
}


def weights(name: str, *shape: int) -> np.ndarray:
    random = np.random.default_rng([len(name), *shape])
    return random.normal(0, int(np.prod(shape[1:])) ** -0.5, shape).astype(np.float32)


def layer(name: str, source: str, *shape: int, stride: int = 1, **options: Any) -> Convolution:
    pads = (shape[-1] // 2,) * 4
    bias = weights(f"{name} bias", shape[0], 1)[:, 0]
    return Convolution(name, source, weights(name, *shape), bias, (stride, stride), pads, **options)


def network() -> Graph:
    return Graph(
        (
            layer("stem", INPUT, 8, 3, 3, 3, stride=2, clamp=RELU),
            layer("depthwise", "stem", 8, 1, 3, 3, groups=8, clamp=RELU),
            layer("pointwise", "depthwise", 8, 8, 1, 1),
            Add("sum", "pointwise", "stem"),
            GlobalAveragePool("pool", "sum"),
            Classifier("classifier", "pool", weights("classifier", 3, 8), weights("classifier bias", 3, 1)[:, 0]),
        ),
        3, (12, 12),
    )  # fmt: skip


def arrays_of(value: Any) -> list[np.ndarray]:
    """Every array of a program, in the order of its fields."""
    if isinstance(value, np.ndarray):
        return [value]
    if is_dataclass(value):
        return [array for field in fields(value) for array in arrays_of(getattr(value, field.name))]
    return [array for item in value for array in arrays_of(item)] if isinstance(value, tuple) else []


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bytes")
    images = np.random.default_rng(7).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
    source = Source(LABELS, "0" * 64, {"data": "noise", "pictures": 16})
    quantized = quantize_network("small", network(), images, PREPROCESS, QuantConfig(), source)
    model = onnx.ModelProto.FromString(serialize(quantized.onnx))
    kept = [entry for entry in model.metadata_props if entry.key != TOOLS]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    (folder / "small.qdq.onnx").write_bytes(serialize(quantized.onnx))
    program = lower(read_qdq(folder / "small.qdq.onnx"))
    return {"qdq": digest(serialize(model)), **_of_bundle(program, images[:4], folder)}


def _of_bundle(program: Program, images: np.ndarray, folder: Path) -> dict[str, str]:
    subject: Any = SimpleNamespace(
        name="small", preprocess=PREPROCESS, detection=None, labels=LABELS,
        facts={"name": "small", "weights": {"kind": "file", "source": "small.safetensors", "sha256": "0" * 64}},
    )  # fmt: skip
    variant = CompiledVariant("neon", b"", "step", "w")
    compiled = CompiledNetwork((variant,), {"w": b""}, (1,), 64, ("a kernel",))
    info = model_info(subject, Compilation(program, ARM64, INT8), compiled)
    build = Build(ARM64, INT8, {**info, "workspace_bytes": 64}, b"code", b"runner", 1, ("a kernel",), [])
    record = {"measured": False, "reason": "nobody judged it", "command": "repghost compile"}
    sections = {**manifest_sections(build, subject, QuantConfig(), Evaluation(record)), "tools": {}}
    vectors = pack_vectors(Vectors(images, run(program, images)))
    files = {"model.so": b"code", "repghost-run": b"runner", "repghost.h": b"/* */"}
    files |= {"labels.txt": to_lines(LABELS), "vectors.bin": vectors}
    bundle = write_bundle(folder / "bundle", files, sections)
    arrays = arrays_of(program.operators)
    assert len(arrays) > 6 and "outputs" not in bundle.manifest and bundle.manifest["version"] == 1
    return {
        "program": program.digest,
        "weights": digest(b"".join(f"{it.dtype.str}{it.shape}".encode() + it.tobytes() for it in arrays)),
        "vectors": digest(vectors),
        "labels": digest(to_lines(LABELS)),
        "rg_info": digest(json.dumps(info)),
        "manifest": digest((bundle.path / MANIFEST).read_bytes()),
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_bundles_of_classifiers_keep_their_bytes(name: str, found: dict[str, str]) -> None:
    assert found[name] == EXPECTED[name], json.dumps(found, indent=1)
