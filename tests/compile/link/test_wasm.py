"""What model.wasm promises: no import besides its memory, the functions of repghost.h, and a file that is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.shared.browser import INSTALL_HINT, find_browser
from benchmarks.shared.page import opened, served
from calib.integer.reference import run
from compile.bundle.manifest import MANIFEST, check_bundle, write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.by_form import link_models, make_runner, read_beside
from compile.link.promises import API
from compile.link.wasm import FOR_CALLERS, FUNCTIONS, HEADER, check_module
from compile.machine.replay import verify_bundle
from compile.targets.forms import WASM
from compile.targets.table import TARGETS
from repghost.data.images.preprocess import Preprocess
from repghost.errors import IntegrityError, UsageError
from tests.support.fake_bundle import fake_sections
from tests.support.programs import random_images, random_program

WEB = TARGETS["web"]


def named(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def section(number: int, entries: list[bytes]) -> bytes:
    content = bytes([len(entries)]) + b"".join(entries)
    return bytes([number, 0x80 | len(content) & 0x7F, len(content) >> 7]) + content


MEMORY = named("env") + named("memory") + bytes([2, 0, 1])
SHARED = named("env") + named("memory") + bytes([2, 3, 1, 16])
CALL = named("env") + named("fetch") + bytes([0, 0])
NUMBER = named("env") + named("base") + bytes([3, 0x7F, 0])
EXPORTS = [named(name) + bytes([0, 0]) for name in API] + [named(name) + bytes([3, 0]) for name in FOR_CALLERS]
EXPORTS += [named(FUNCTIONS) + bytes([1, 0])]


@pytest.mark.parametrize(
    ("imports", "exports", "said"),
    [
        ([], EXPORTS, "imports nothing"),
        ([CALL, MEMORY], EXPORTS, "imports env.fetch, env.memory; for web it must import env.memory alone"),
        ([NUMBER, SHARED], EXPORTS, "imports env.base, env.memory"),
        ([MEMORY], EXPORTS[1:], "exports "),
        ([MEMORY], [*EXPORTS, named("main") + bytes([0, 0])], "exports .*main"),
    ],
)
def test_a_module_with_other_ends_is_refused(imports: list[bytes], exports: list[bytes], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_module(HEADER + section(2, imports) + section(7, exports), WEB)


@pytest.mark.parametrize("memory", [MEMORY, SHARED])
def test_sections_are_read_to_their_end(memory: bytes) -> None:
    whole = HEADER + section(2, [memory]) + section(7, EXPORTS)
    check_module(whole, WEB)
    for size in range(len(whole)):
        with pytest.raises(UsageError, match=r"model\.wasm"):
            check_module(whole[:size], WEB)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for the web."""
    from compile.codegen.program_to_objects import compile_program  # loads TVM

    program, images = random_program(size=32), random_images(4, 32, 32)
    sides = {"height": 32, "width": 32, "channels": 3}
    preprocess = Preprocess(size=32, resize=32).to_dict()
    info = {"abi": 2, "input": sides, "classes": program.classes, "model": "random", "preprocess": preprocess}
    files = {
        **link_models(compile_program(program, WEB), WEB, info),
        WASM.runner: make_runner(WEB),
        **read_beside(WASM),
        "labels.txt": b"".join(b"%d\n" % index for index in range(program.classes)),
        "vectors.bin": pack_vectors(Vectors(images, run(program, images))),
    }
    sections = {
        **fake_sections(WEB),
        "abi": 2,
        "program_digest": program.digest,
        "input": sides,
        "classes": program.classes,
        "preprocess": preprocess,
    }
    path = tmp_path_factory.mktemp("web") / "bundle"
    write_bundle(path, files, sections)
    return path


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node")


@needs_node
@pytest.mark.slow
def test_node_gives_the_logits_of_the_reference(bundle: Path) -> None:
    verified = verify_bundle(bundle)
    assert {it.variant for it in (*verified.replays, *verified.skipped)} == {"simd128", "relaxed"}
    for replay in verified.replays:
        assert (replay.pictures, replay.tolerance) == (4, 0.0)
        assert replay.machine.startswith("node v")
    assert verified.replays[0].variant == "simd128"
    assert all("cannot run relaxed" in it.reason for it in verified.skipped)


@needs_node
@pytest.mark.slow
def test_other_logits_and_another_module_are_found(bundle: Path, tmp_path: Path) -> None:
    sections = check_bundle(bundle).manifest
    files = {path.name: path.read_bytes() for path in bundle.iterdir() if path.name != MANIFEST}
    wrong = bytearray(files["vectors.bin"])
    wrong[-1] ^= 1
    given = {key: value for key, value in sections.items() if key not in ("format", "version", "files")}
    write_bundle(tmp_path / "wrong", {**files, "vectors.bin": bytes(wrong)}, given)
    with pytest.raises(IntegrityError):
        verify_bundle(tmp_path / "wrong")
    shutil.copytree(bundle, tmp_path / "changed")
    (tmp_path / "changed" / WASM.model).write_bytes(files[WASM.model] + b"\0")
    with pytest.raises(IntegrityError, match="was changed"):
        verify_bundle(tmp_path / "changed")


@pytest.mark.slow
def test_chromium_gives_the_logits_of_the_reference(bundle: Path, tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no Chromium: {INSTALL_HINT}")
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "bundle").symlink_to(bundle)
    script = """import('/bundle/repghost.js').then(async ({{ load }}) => {{
      const model = await load('/bundle/', {{ variant: {variant} }}), {{ mismatches }} = await model.verify();
      return [model.variant, mismatches];
    }}).catch((error) => [error.code, error.message])"""
    with served(tmp_path) as address, opened(browser, tmp_path / "profile") as page:
        page.open(address)
        fastest, plain, relaxed = (
            page.run(script.format(variant=it)) for it in ("undefined", "'simd128'", "'relaxed'")
        )
    assert plain == ["simd128", 0]
    assert fastest == (plain if relaxed[0] == "unsupported" else relaxed)
    assert relaxed[0] == "unsupported" or relaxed == ["relaxed", 0]


@pytest.mark.slow
def test_a_bundle_for_the_web_holds_what_its_form_says(bundle: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == WASM.files | {MANIFEST}
