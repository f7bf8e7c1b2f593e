"""`--detect`: a device finds the boxes that Python finds, to the bit, and what it cannot use is named."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compile.bundle.host_model import load
from compile.link.toolchain import REPRODUCIBLE, RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.machine.emulator import Emulator
from compile.targets.table import ARM64, Target
from repghost.data import read_image
from repghost.detection.boxes import BoxRule, find_boxes
from tests.support import ROOT
from tests.support.box_numbers import KINDS, RULE, crowd, numbers_of
from tests.support.classify import written
from tests.support.fake_detector import write_detector


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory, host: Target) -> Callable[[Target], Path]:
    """What prints the boxes of the runner's C code, built once for each target."""
    folder, made = tmp_path_factory.mktemp("boxes"), dict[str, Path]()

    def build(target: Target) -> Path:
        if target.name not in made:
            made[target.name] = folder / target.name
            source = str(ROOT / "tests" / "support" / "boxes_replay.c")
            flags = [*target.zig_target(), *REPRODUCIBLE, "-Wno-unused-function", f"-I{RUNNER_SOURCES}"]
            run_zig(["cc", *flags, source, "-o", str(made[target.name]), "-lm"], cwd=folder)
        return made[target.name]

    return build


def lines_of(rule: BoxRule, numbers: np.ndarray) -> list[str]:
    found = find_boxes(rule, numbers)
    rows = zip(found.labels, found.anchors, found.scores, found.boxes, strict=True)
    return [
        " ".join([str(label), str(anchor), *(float(value).hex() for value in (score, *box))])
        for label, anchor, score, box in rows
    ]


def printed(command: list[str], rule: BoxRule, numbers: np.ndarray, folder: Path) -> list[str]:
    (folder / "rule.json").write_text(json.dumps(rule.to_dict()))
    (folder / "numbers.bin").write_bytes(numbers.astype("<f4").tobytes())
    arguments = [*command, str(folder / "rule.json"), str(folder / "numbers.bin")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    parts = [line.split() for line in done.stdout.splitlines()]
    return [" ".join([*row[:2], *(float.fromhex(value).hex() for value in row[2:])]) for row in parts]


@pytest.mark.parametrize("kind", KINDS)
def test_the_boxes_are_those_of_python_to_the_bit(
    kind: str, replays: Callable[[Target], Path], host: Target, tmp_path: Path
) -> None:
    numbers = numbers_of(kind)
    expected = lines_of(RULE, numbers)
    assert (len(expected) == 0) == (kind == "none")
    assert printed([str(replays(host))], RULE, numbers, tmp_path) == expected


def test_an_arm64_core_finds_the_same_boxes(
    replays: Callable[[Target], Path], emulator: Emulator, tmp_path: Path
) -> None:
    command = [*emulator.command("cortex-a53"), str(replays(ARM64))]
    for kind in KINDS[:4]:
        assert printed(command, RULE, numbers_of(kind), tmp_path) == lines_of(RULE, numbers_of(kind)), kind


def test_thousands_of_boxes_are_bounded(replays: Callable[[Target], Path], host: Target, tmp_path: Path) -> None:
    rule, numbers = crowd()
    expected = lines_of(rule, numbers)
    assert len(expected) == 70
    assert printed([str(replays(host))], rule, numbers, tmp_path) == expected


@pytest.fixture(scope="module")
def detector(host: Target, host_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "bundle", host, host_files)


def run(bundle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(bundle / "repghost-run"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_boxes_come_back_in_pixels_of_the_photo_whatever_its_proportions(detector: Path, tmp_path: Path) -> None:
    files = written(tmp_path)
    done = run(detector, "--detect", "--", *files.values())
    assert done.returncode == 0, done.stderr
    model, boxes = load(detector), 0
    for line, path in zip(done.stdout.splitlines(), files.values(), strict=True):
        image = read_image(path)
        found, said = model.detect(image), json.loads(line)
        assert (said["picture"], said["width"], said["height"]) == (str(path), *image.size)
        assert [box["class"] for box in said["boxes"]] == [label - 1 for label in found.labels]
        assert [box["label"] for box in said["boxes"]] == [model.labels[label - 1] for label in found.labels]
        assert [f"{box['score']:.9g}" for box in said["boxes"]] == [f"{score:.9g}" for score in found.scores]
        edges = [[f"{edge:.9g}" for edge in box] for box in found.on(*image.size)]
        assert [[f"{edge:.9g}" for edge in box["box"]] for box in said["boxes"]] == edges
        boxes += len(found)
    assert boxes > len(files)


@pytest.mark.parametrize(("red", "drawn"), [(30, 1), (9, 0)])
def test_a_picture_is_drawn_with_its_likely_boxes(detector: Path, tmp_path: Path, red: int, drawn: int) -> None:
    path, target = tmp_path / "photo.png", tmp_path / "drawn.ppm"
    Image.new("RGB", (60, 40), (red, 9, 9)).save(path)
    done = run(detector, "--detect", path, "--draw", target)
    assert done.returncode == 0, done.stderr
    boxes = json.loads(done.stdout)["boxes"]
    likely = [box["box"] for box in boxes if box["score"] >= 0.3]
    assert len(likely) == drawn < len(boxes)
    pixels = np.asarray(Image.open(target))
    changed = (pixels != (red, 9, 9)).any(axis=2)
    assert len(np.unique(pixels[changed], axis=0)) == drawn  # the unlikely boxes lie there too, in other colours
    for left, top, _, _ in likely:
        assert (changed.any(axis=1).argmax(), changed.any(axis=0).argmax()) == (int(top), int(left))
    assert [entry.name for entry in tmp_path.glob("*.part")] == []


def test_a_picture_of_one_pixel_and_broken_ones_are_named(detector: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (200, 30, 30)).save(tmp_path / "one.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    done = run(detector, "--detect", tmp_path / "one.png", tmp_path / "broken.jpg", tmp_path / "absent.png")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    assert all(0 <= edge <= 1 for box in json.loads(done.stdout)["boxes"] for edge in box["box"])
    assert "broken.jpg" in done.stderr and "absent.png" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--detect",), "--detect needs a picture"),
        (("--classify", "x.png"), "several results"),
        (("--watch", "."), "several results"),
        (("--detect", "a.png", "b.png", "--draw", "c.ppm"), "one picture"),
        (("--info", "--draw", "c.ppm"), "--draw belongs to --detect"),
    ],
)
def test_wrong_usage_is_named(arguments: tuple[str, ...], message: str, detector: Path) -> None:
    done = run(detector, *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_what_cannot_be_written_is_named_and_nothing_is_left(detector: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "taken.ppm.part").write_text("mine")
    for target in (tmp_path / "nowhere" / "x.ppm", tmp_path / "taken.ppm"):
        done = run(detector, "--detect", tmp_path / "photo.png", "--draw", target)
        assert done.returncode == 2 and "cannot write" in done.stderr
    assert (tmp_path / "taken.ppm.part").read_text() == "mine"


def test_a_classifier_is_no_detector(host_bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    done = run(host_bundle, "--detect", tmp_path / "photo.png")
    assert done.returncode == 2 and "no detector" in done.stderr


def test_python_refuses_to_name_a_class_of_several_results(detector: Path, host_bundle: Path) -> None:
    from repghost.errors import UsageError

    image = Image.new("RGB", (8, 8))
    with pytest.raises(UsageError, match="several results"):
        load(detector)(image)
    with pytest.raises(UsageError, match="several results"):
        load(detector).as_predictor()
    with pytest.raises(UsageError, match="no detector"):
        load(host_bundle).detect(image)
