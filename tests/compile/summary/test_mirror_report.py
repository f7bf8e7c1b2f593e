"""`make report WEIGHTS=timm DATA=imagenet`: all eight rows in one command, the weights from a mirror on this machine.

Weights and images are read as always; compiling, which other tests do, is replaced by a report of what was read.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from compile.subject.images import open_test
from compile.subject.request import SubjectRequest
from compile.summary.output import read_summary
from compile.summary.tables import width_table
from repghost.network.spec import WIDTHS
from tests.support import ROOT
from tests.support.hub_mirror import mirror
from tests.support.hub_server import FakeHub

__all__ = ["mirror"]

CLASSES = 1000
RUN = """
import sys
from pathlib import Path
from compile import pipeline
from compile.storage.strict_json import canonical_json
from compile.subject.load import load_subject
from repghost.cli import main
from tests.support.summary_cases import run_report

def run(request, say):
    subject = load_subject(request)
    report = run_report(subject.name, 0.001, 1.0)
    report["weights"] = dict(subject.weights)
    report["accuracy"]["test"].update(subject.test.origin, pictures=len(subject.test.labels))
    folder = request.output / subject.name
    for build in report["builds"]:
        (folder / build["folder"]).mkdir(parents=True)
        (folder / build["folder"] / "manifest.json").write_bytes(b"{}")
    report["folder"] = str(folder)
    (folder / "report.json").write_bytes(canonical_json(report))
    return report

pipeline.run = run
sys.argv = ["repghost", *sys.argv[1:]]
for said in ("first", "again"):
    with open(said, "w") as sys.stderr:
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
"""


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of each of a thousand classes, in both splits."""
    folder = tmp_path_factory.mktemp("data") / "imagenet"
    image = folder / "train/n00000000/a.png"
    for split in ("train", "val"):
        for index in range(CLASSES):
            place = folder / split / f"n{index:08d}"
            place.mkdir(parents=True)
            if place == image.parent:
                Image.new("RGB", (40, 40), (200, 30, 90)).save(image)
            else:
                os.link(image, place / f"{split}.png")
    return folder


@pytest.fixture(scope="module")
def flat(imagenet: Path) -> Path:
    """The same as ILSVRC comes: val is one folder, and a table beside the set says the classes."""
    folder = imagenet.with_name("flat") / "imagenet"
    (folder / "val").mkdir(parents=True)
    (folder / "train").symlink_to(imagenet / "train")
    lines = ["ImageId,PredictionString"]
    for number, place in enumerate(sorted((imagenet / "val").iterdir()), 1):
        name = f"ILSVRC2012_val_{number:08d}"
        os.link(place / "val.png", folder / "val" / f"{name}.png")
        lines.append(f"{name},{place.name} 1 2 3 4")
    (folder.parent / "LOC_val_solution.csv").write_text("\n".join(lines))
    return folder


def test_a_flat_val_is_read_as_one_by_class(imagenet: Path, flat: Path) -> None:
    by_class = open_test(imagenet, SubjectRequest())
    found = open_test(flat, SubjectRequest(class_map=flat.parent / "LOC_val_solution.csv"))
    assert by_class is not None and found is not None and len(found) == CLASSES
    assert found.classes == by_class.classes and found.labels.tolist() == by_class.labels.tolist()


@pytest.mark.slow
def test_one_command_fills_all_eight_rows(mirror: FakeHub, flat: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HF_ENDPOINT": mirror.address,
        "HF_HOME": str(tmp_path / "hub"),
        "NO_PROXY": "127.0.0.1",
    }
    arguments = [
        "report", str(tmp_path / "build"), "--build", "--weights", "timm", "--data", str(flat), "--class-map",
        str(flat.parent / "LOC_val_solution.csv"), "--target", "host",
        "--size", "32", "--images", "4", "--test-images", "4", "-o", str(tmp_path / "page"),
    ]  # fmt: skip
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], env=environment, cwd=tmp_path, check=False)
    first, again = ((tmp_path / said).read_text() for said in ("first", "again"))
    assert done.returncode == 0, first[-2000:] + again[-2000:]
    fetched = {path.partition("/resolve/")[0].strip("/") for path in mirror.asked if "/resolve/" in path}
    assert fetched == set(mirror.repositories)
    rows = width_table(read_summary(tmp_path / "page/report.json")).rows
    assert [row[0].value for row in rows] == [width.multiplier for width in WIDTHS]
    assert all("imagenet" in row[5].text and row[7].value is not None for row in rows)
    assert "8 widths will take about " in first and "will take" not in again
    assert "as in an earlier run" not in first and again.count("as in an earlier run") == len(WIDTHS)
