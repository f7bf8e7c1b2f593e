"""Any part of a manifest changed: everything that reads it answers, or refuses with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.bundle.layers import bundle_layers
from compile.bundle.manifest import Bundle, bundle_target, parse_manifest
from compile.deploy.fit import expected_variant
from compile.deploy.gate import refusal
from compile.deploy.history import version_of
from compile.deploy.probe import parse_probe
from compile.targets.table import TARGETS
from repghost.data.images.preprocess import Preprocess
from repghost.errors import IntegrityError, RepGhostError
from tests.support.odd_values import changed_json

SHARE = {"top1": 0.9, "low": 0.8, "high": 0.95, "pictures": 100}
LAYER = {
    "name": "stem",
    "operator": "Conv",
    "arithmetic": "int8",
    "input": [64, 64, 3],
    "output": [32, 32, 16],
    "macs": 1000,
    "weight_bytes": 432,
    "kernels": {"avx2": "rg_conv__avx2"},
}
MANIFEST: dict[str, Any] = {
    "format": "repghost-bundle",
    "version": 1,
    "files": {
        name: {"size": 5, "sha256": "0" * 64}
        for name in ("model.so", "repghost-run", "repghost.h", "labels.txt", "vectors.bin")
    },
    "abi": 2,
    "model": {"name": "net", "weights": {"kind": "file", "sha256": "0" * 64}},
    "target": {"name": "x86-64", "triple": "x86_64-linux-gnu"},
    "precision": "int8",
    "program_digest": "0" * 64,
    "input": {"height": 64, "width": 64, "channels": 3},
    "classes": 10,
    "preprocess": Preprocess(size=64, resize=64).to_dict(),
    "quantization": {"policy": "cpu"},
    "variants": ["avx2"],
    "layers": [LAYER],
    "accuracy": {"measured": True, "program_digest": "0" * 64, "fp32": SHARE, "int8": SHARE},
    "tools": {"torch": "2.14.1"},
}


def read_everything(text: bytes) -> None:
    manifest = parse_manifest(text)
    bundle = Bundle(Path("bundle"), manifest, "0" * 64)
    bundle_layers(bundle, "avx2")
    refusal(manifest, 2.0)
    version_of(bundle)
    Preprocess.from_dict(manifest["preprocess"])
    expected_variant(bundle_target(bundle), manifest["variants"], parse_probe([]))


def test_the_manifest_itself_is_read() -> None:
    assert MANIFEST["target"]["name"] in TARGETS
    assert parse_manifest(json.dumps(MANIFEST).encode()) == MANIFEST


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_a_changed_manifest_is_read_or_refused(seed: int) -> None:
    try:
        read_everything(json.dumps(changed_json(MANIFEST, seed)).encode())
    except RepGhostError as error:
        assert error.exit_code in (2, 6) and str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": {"name": {}, "triple": ""}}, r"target\.name .*\{\}.*str"),
        ({"layers": [{**LAYER, "kernels": 5}]}, r"layers\[0\]\.kernels .*object.* 5"),
        ({"layers": [{**LAYER, "macs": "many"}]}, r"layers\[0\]\.macs .*'many'.*int"),
        ({"variants": []}, "variants must name an instruction set"),
        ({"variants": [1]}, r"variants\[0\] is 1"),
        ({"model": {}}, r"model: the keys \['name'\] are missing"),
        ({"classes": 10**30}, "does not fit 64 bits"),
        ({"preprocess": {}}, "preprocess: "),
        ({"tools": {"torch": None}}, "tools.torch is None"),
    ],
)
def test_the_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        parse_manifest(json.dumps({**MANIFEST, **change}).encode())
