"""All eight widths, of random weights, for every JetPack: legal by the rules, and built by NVIDIA as promised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.tensorrt.checked import KINDS, WrittenFile, written_files
from benchmarks.tensorrt.rtx import RtxBuild, build_with_rtx, rtx_is_here
from compile.tensorrt.jetpack import JETPACKS
from repghost.network.spec import WIDTHS

SIZE = 64  # pixels: which layers are int8 does not depend on it
MULTIPLIERS = [f"{row.multiplier:g}" for row in WIDTHS]
LAYERS, INT8_LAYERS = 96, 82  # of every width: what is float is the first convolution and squeeze-and-excite


@pytest.fixture(scope="module", params=MULTIPLIERS)
def files(request: pytest.FixtureRequest) -> Iterator[list[WrittenFile]]:
    """The files of one width, linted while they were written."""
    yield list(written_files([request.param], SIZE))


@pytest.mark.slow
def test_every_file_of_a_width_keeps_the_rules(files: list[WrittenFile]) -> None:
    assert [(file.jetpack.name, file.kind) for file in files] == [(name, kind) for name in JETPACKS for kind in KINDS]
    for file in files:
        placement = file.networks.placement
        assert len(placement.layer_names) == LAYERS and len(placement.layers) == INT8_LAYERS


@pytest.mark.slow
def test_every_file_of_a_width_is_built_as_promised(files: list[WrittenFile], tmp_path: Path) -> None:
    if not rtx_is_here():
        pytest.skip("TensorRT for RTX is not installed; pip install '.[tensorrt-rtx]'")
    built = _built_once(files, tmp_path)
    for file in files:
        build, placement = built[file.content], file.networks.placement
        assert build.parsed and build.built and not build.errors and build.engine_bytes > 1 << 20
        assert set(placement.layer_names) <= set(build.layers)
        promised = placement.layers if file.kind == "int8" else frozenset()
        assert build.int8_layers(placement.layer_names) == promised


def _built_once(files: list[WrittenFile], folder: Path) -> dict[bytes, RtxBuild]:
    """Return what was built of each content; JetPacks that read the same file share it."""
    contents = list(dict.fromkeys(file.content for file in files))
    paths = [folder / f"{index}.onnx" for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return dict(zip(contents, build_with_rtx(paths), strict=True))
