from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import repghost
from compile.bundle.host_model import Prediction, load
from compile.bundle.manifest import MANIFEST, Bundle, check_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.machine import latency as measure
from compile.machine import replay as replaying
from compile.machine.emulator import Emulator
from compile.machine.execute import Machine, UnsupportedVariantError, _last_object
from compile.machine.facts import UNREPORTED
from compile.machine.latency import measure_latency
from compile.machine.replay import verify_bundle
from compile.storage.strict_json import canonical_json
from compile.targets.table import Target
from repghost.errors import IntegrityError, RepGhostError, ToolMissingError, UsageError
from tests.support.fake_network import expected_logits, random_images
from tests.support.reseal import reseal


def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def run(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(bundle / "repghost-run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_host_bundle_is_verified_to_the_bit(host_bundle: Path, host: Target) -> None:
    result = verify_bundle(host_bundle)
    assert {replay.variant for replay in result.replays} | {skip.variant for skip in result.skipped} == {
        variant.name for variant in host.variants
    }
    for replay in result.replays:
        assert (replay.pictures, replay.tolerance, replay.largest_difference) == (12, 0.0, 0.0)
        assert not replay.emulated


@pytest.mark.slow
def test_an_instruction_set_that_this_core_lacks_is_skipped_in_few_words(
    host_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = check_bundle(host_bundle).manifest["variants"][0], check_bundle(host_bundle).manifest["variants"][-1]

    def run_all_but_the_last(bundle: Bundle, machine: Machine, arguments: list[str]) -> dict[str, Any]:
        if arguments[-1] == last:
            raise UnsupportedVariantError(f"repghost-run: this core cannot run {last}; the model is {{...}}")
        return {"ok": True, "variant": arguments[-1], "pictures": 1, "tolerance": 0.0}

    monkeypatch.setattr(replaying, "run_runner", run_all_but_the_last)
    found = verify_bundle(host_bundle)
    assert first in [it.variant for it in found.replays]
    assert [(it.variant, it.reason) for it in found.skipped] == [(last, f"this core cannot run {last}")]


def test_each_arm64_core_chooses_its_variant(arm64_bundle: Path, emulator: Emulator) -> None:
    result = verify_bundle(arm64_bundle, emulator=emulator)
    assert [replay.variant for replay in result.replays] == ["neon", "dot", "i8mm"]


@pytest.mark.parametrize("name", ["model.so", "repghost-run", "labels.txt", "vectors.bin", "repghost.h"])
def test_one_changed_byte_fails_before_anything_runs(host_bundle: Path, tmp_path: Path, name: str) -> None:
    bundle = copied(host_bundle, tmp_path)
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(IntegrityError, match="was changed"):
        verify_bundle(bundle)
    with pytest.raises(IntegrityError, match="was changed"):
        load(bundle)
    done = run(host_bundle, "--verify", "--bundle", str(bundle))
    assert done.returncode == 6
    assert f"{name} was changed" in done.stderr
    assert not done.stdout


def test_changed_weight_with_a_fitting_digest_fails_the_replay(host_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(host_bundle, tmp_path)
    from tests.support.fake_network import weights

    data = (bundle / "model.so").read_bytes()
    at = data.index(weights().tobytes())
    reseal(bundle, "model.so", data[: at + 3] + bytes([data[at + 3] ^ 1]) + data[at + 4 :])
    with pytest.raises(IntegrityError, match="gave other scores"):
        verify_bundle(bundle)


def test_changed_expectation_fails_the_replay(host_bundle: Path, tmp_path: Path) -> None:
    images = random_images(3)
    expected = expected_logits(images)
    expected[2, 9] = np.nextafter(expected[2, 9], np.float32(np.inf))
    path = tmp_path / "vectors.bin"
    path.write_bytes(pack_vectors(Vectors(images, expected)))
    with pytest.raises(IntegrityError, match="1 of 3 recorded pictures"):
        verify_bundle(host_bundle, vectors=path)
    path.write_bytes(pack_vectors(Vectors(images, expected, tolerance=1.0)))
    result = verify_bundle(host_bundle, vectors=path)
    assert 0 < result.replays[0].largest_difference < 1.0


def test_pictures_of_other_channels_are_refused(host_bundle: Path, tmp_path: Path) -> None:
    images, path = random_images(3), tmp_path / "vectors.bin"
    path.write_bytes(pack_vectors(Vectors(np.ascontiguousarray(images[..., :1]), expected_logits(images))))
    with pytest.raises(IntegrityError, match="pictures of 1 channels, the model takes 3"):
        verify_bundle(host_bundle, vectors=path)


def test_a_library_that_exports_more_is_refused(host_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(host_bundle, tmp_path)
    data = (bundle / "model.so").read_bytes()
    reseal(bundle, "model.so", data.replace(b"rg_abi\0", b"rg_abj\0"))
    with pytest.raises(IntegrityError, match="exports"):
        verify_bundle(bundle)


def test_a_bundle_of_another_interface_is_named(host_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(host_bundle, tmp_path)
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_bytes(canonical_json({**manifest, "abi": 1}))
    for use in (verify_bundle, load):
        with pytest.raises(IntegrityError, match=r"version 1 .* 2.*Build"):
            use(bundle)


def test_python_and_runner_give_the_reference(host_bundle: Path, tmp_path: Path) -> None:
    images = random_images(2)
    model = repghost.load(host_bundle)
    assert np.array_equal(model.logits(images), expected_logits(images))
    prediction = model(Image.fromarray(images[0]))
    assert prediction.index == expected_logits(images)[0].argmax()
    assert prediction.label == f"class {prediction.index}"
    assert prediction.top(1) == [prediction.index]
    raw, ppm = tmp_path / "picture.rgb", tmp_path / "picture.ppm"
    raw.write_bytes(images[0].tobytes())
    ppm.write_bytes(b"P6\n# a comment\n8 8\n255\n" + images[1].tobytes())
    done = run(host_bundle, "--classify", "--top", "3", str(raw), str(ppm))
    assert done.returncode == 0, done.stderr
    for line, logits in zip(done.stdout.splitlines(), expected_logits(images), strict=True):
        top = json.loads(line)["top"]
        assert [entry["class"] for entry in top] == np.argsort(-logits, kind="stable")[:3].tolist()
        assert [entry["logit"] for entry in top] == pytest.approx(np.sort(logits)[::-1][:3].tolist())
        assert top[0]["label"] == f"class {top[0]['class']}"


def test_threads_give_the_same_answer(host_bundle: Path) -> None:
    for threads in ("2", "3", "64"):
        done = run(host_bundle, "--verify", "--threads", threads)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["mismatches"] == 0


def test_variants_can_be_chosen(host_bundle: Path, host: Target) -> None:
    model = load(host_bundle)
    best = model.variant
    plainest = host.variants[0].name
    model.select(plainest)
    assert model.variant == plainest
    model.select(None)
    assert model.variant == best
    with pytest.raises(UsageError, match="sse9"):
        model.select("sse9")
    assert model.variant == best
    assert json.loads(run(host_bundle, "--info", "--variant", plainest).stdout)["variant"] == plainest


def test_the_runner_says_its_version_without_a_bundle(host_bundle: Path) -> None:
    done = run(host_bundle, "--version", "--bundle", "/nonexistent")
    assert (done.returncode, done.stdout) == (0, f"repghost-run {repghost.__version__}, C interface 2\n")


def test_wrong_calls_return_a_status(host_bundle: Path) -> None:
    model = load(host_bundle)  # the library goes with it
    library = model._library
    memory = (ctypes.c_uint8 * 4096)()
    base = -(-ctypes.addressof(memory) // 64) * 64
    assert library.rg_infer(None, base, base) == 1
    assert library.rg_infer(base, base, base + 4) == 2
    assert library.rg_infer(base, base + 1, base) == 2
    assert library.rg_select(b"none") == 4
    assert library.rg_infer_parallel(*(ctypes.c_void_p(base),) * 3, None, None, 2) == 1
    assert library.rg_infer_parallel(*(ctypes.c_void_p(base),) * 4, None, 0) == 6


def test_latency_is_measured_on_this_machine(host_bundle: Path) -> None:
    latency = measure_latency(host_bundle, runs=50, warmup=1)
    assert 0 < latency.min_ms <= latency.median_ms <= latency.p90_ms


def test_emulated_time_is_no_latency(arm64_bundle: Path, emulator: Emulator, host: Target) -> None:
    if host.name == "arm64":
        pytest.skip("this machine runs the bundle itself")
    with pytest.raises(ToolMissingError, match="--bench"):
        measure_latency(arm64_bundle)


@pytest.mark.parametrize(
    ("policy", "state", "text"),
    [
        ("governor performance", {"clock_khz": 1_500_000}, "1.50 GHz, governor performance"),
        (UNREPORTED, {"clock_khz": 2_596_126, "temperature_c": None}, "2.60 GHz, governor not reported by the kernel"),
        (UNREPORTED, {"clock_khz": None}, UNREPORTED),
        ("governor ondemand", None, "governor ondemand"),
    ],
)
def test_the_clock_is_the_one_the_runner_saw(
    policy: str, state: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "clock_policy", lambda: policy)
    assert measure._clock(state) == text


def test_the_folder_of_a_run_is_no_bundle_but_holds_some(host_bundle: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(host_bundle, tmp_path / "run/host/int8")
    with pytest.raises(UsageError, match=f"there are bundles in it: {bundle}"):
        check_bundle(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="build one with 'repghost compile'"):
        check_bundle(tmp_path / "empty")


@pytest.mark.parametrize("noexec", [False, True])
def test_a_runner_that_may_not_be_started_is_named(
    host_bundle: Path, tmp_path: Path, noexec: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = copied(host_bundle, tmp_path)
    (bundle / "repghost-run").chmod(0o644)
    if noexec:
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_NOEXEC))
    words = "mounted with noexec: copy" if noexec else f"Make it executable: chmod [+]x {bundle}/repghost-run"
    with pytest.raises(ToolMissingError, match=words):
        measure_latency(bundle, runs=1, warmup=0)


def test_a_prediction_is_printed_without_its_thousand_scores() -> None:
    assert repr(Prediction("cat", 3, 0.5, np.zeros(1000, np.float32))) == (
        "Prediction(label='cat', index=3, probability=0.5)"
    )


def test_a_foreign_bundle_is_not_loaded(arm64_bundle: Path, host: Target) -> None:
    if host.name == "arm64":
        pytest.skip("an arm64 bundle is no foreign bundle here")
    with pytest.raises(UsageError, match="--target host"):
        load(arm64_bundle)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "a command is missing"),
        (("--verify", "--bench"), 2, "one command at a time"),
        (("--frobnicate",), 2, "needs a value"),
        (("--frobnicate", "1"), 2, "unknown option --frobnicate"),
        (("--bench", "--runs", "0"), 2, "whole number from 1"),
        (("--bench", "--runs", "12x"), 2, "not '12x'"),
        (("--verify", "--threads", "65"), 2, "from 1 to 64"),
        (("--verify", "picture"), 2, "takes no 'picture'"),
        (("--classify",), 2, "needs a picture"),
        (("--classify", "/nonexistent.ppm"), 2, "cannot read"),
        (("--verify", "--variant", "sse9"), 2, "no variant 'sse9'"),
        (("--verify", "--vectors", "/dev/null"), 2, "not a regular file"),
        (("--info", "--bundle", "/nonexistent"), 2, "is no folder"),
        (("--runs", "3", "--verify"), 2, "--runs belongs to --bench and --profile, not to --verify"),
        (("--classify", "a.ppm", "--count", "1"), 2, "--count belongs to --watch and --camera, not to --classify"),
        (("--stream", "--turns"), 2, "--turns belongs to --bench, not to --stream"),
        (("--watch", ".", "--frame", "8x8"), 2, "--frame belongs to --camera, not to --watch"),
        (("--camera", "/dev/video0", "--existing"), 2, "--existing belongs to --watch, not to --camera"),
    ],
)
def test_wrong_use_of_the_runner(host_bundle: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = run(host_bundle, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert not done.stdout


IMAGES = {
    "no width": b"P6 0 9 255\n",
    "a thread": b"P6 1 1500000 255\n" + bytes(1500000 * 3),
    "truncated": b"P6 8 8 255\n" + bytes(8 * 8 * 3 - 1),
    "too long": b"P6 8 8 255\n" + bytes(8 * 8 * 3 + 1),
    "truncated grey": b"P5 8 8 255\n" + bytes(8 * 8 - 1),
    "colours said to be grey": b"P5 8 8 255\n" + bytes(8 * 8 * 3),
    "sixteen bits": b"P6 8 8 65535\n" + bytes(8 * 8 * 6),
    "no numbers": b"P6 eight",
    "huge number": b"P6 99999999999999999999 8 255\n",
    "a bomb": b"P6 16000000 16000000 255\n",
    "text": b"hello",
    "empty": b"",
}


@pytest.mark.parametrize("content", IMAGES.values(), ids=IMAGES.keys())
def test_wrong_images_are_refused(host_bundle: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture"
    path.write_bytes(content)
    done = run(host_bundle, "--classify", str(path))
    assert done.returncode == 2
    assert str(path) in done.stderr


def test_garbage_around_the_result_is_ignored() -> None:
    assert _last_object('welcome {to} this board\n{"ok": true}\nbye\n') == {"ok": True}
    with pytest.raises(RepGhostError, match="printed no result"):
        _last_object("[1]\n")


def test_the_runner_finds_its_own_folder(host_bundle: Path, tmp_path: Path) -> None:
    moved = tmp_path / "a folder with spaces, and ünïcode"
    shutil.copytree(host_bundle, moved)
    done = run(moved, "--verify")
    assert done.returncode == 0, done.stderr
    assert check_bundle(moved).digest == check_bundle(host_bundle).digest
