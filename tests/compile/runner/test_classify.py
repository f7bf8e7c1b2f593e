"""`--classify` and `--watch`: an image on the device gives the scores that Python gives it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from compile.bundle.host_model import load
from compile.link.toolchain import link_model
from compile.machine.emulator import Emulator
from compile.targets.table import Target
from repghost.data.images.decode import MAX_PIXELS
from repghost.data.names.class_names import to_lines
from tests.support.classify import classify, expected, scores, written
from tests.support.fake_bundle import fake_info
from tests.support.fake_network import SOURCE, fake_network, random_images
from tests.support.image_files import black_png, encoded, scene
from tests.support.reseal import reseal


def test_every_kind_of_image_gets_the_scores_of_python(host_bundle: Path, tmp_path: Path) -> None:
    files = written(tmp_path)
    done = classify(host_bundle, "--top", "10", "--", *files.values())
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [json.loads(line)["picture"] for line in lines] == [str(path) for path in files.values()]
    for line, path in zip(lines, files.values(), strict=True):
        assert scores(line) == dict(enumerate(expected(host_bundle, path).tolist())), path.name
        assert json.loads(line)["prepare_ms"] > 0


def test_names_with_separators_come_back_as_they_are(host_bundle: Path, tmp_path: Path) -> None:
    bundle, names = shutil.copytree(host_bundle, tmp_path / "bundle"), ("sea  lion ", "a\u2028b", "c\x85d", "e\rf", "")
    labels = [*names, *(f"class {index}" for index in range(len(names), len(load(host_bundle).labels)))]
    reseal(bundle, "labels.txt", to_lines(labels))
    assert load(bundle).labels == tuple(labels)
    done = classify(bundle, "--top", "10", written(tmp_path)["tiny.png"])
    assert {entry["class"]: entry["label"] for entry in json.loads(done.stdout)["top"]} == dict(enumerate(labels))


@pytest.mark.slow
def test_arm64_gives_the_same_scores(host_bundle: Path, arm64_bundle: Path, emulator: Emulator, tmp_path: Path) -> None:
    files = written(tmp_path)
    done = classify(arm64_bundle, "--top", "10", *files.values(), prefix=tuple(emulator.command("cortex-a53")))
    assert done.returncode == 0, done.stderr
    for line, path in zip(done.stdout.splitlines(), files.values(), strict=True):
        assert scores(line) == dict(enumerate(expected(host_bundle, path).tolist())), path.name


def test_what_cannot_be_read_is_named_and_the_rest_is_classified(host_bundle: Path, tmp_path: Path) -> None:
    files = written(tmp_path)
    broken, link = tmp_path / "broken.jpg", tmp_path / "link.png"
    broken.write_bytes(files["wide.jpg"].read_bytes()[:200])
    link.symlink_to(files["tiny.png"])
    done = classify(host_bundle, files["tiny.png"], broken, link, tmp_path / "absent.png", files["odd.ppm"])
    assert done.returncode == 2
    assert [Path(json.loads(line)["picture"]).name for line in done.stdout.splitlines()] == ["tiny.png", "odd.ppm"]
    errors = done.stderr.splitlines()
    assert len(errors) == 3
    assert "broken.jpg" in errors[0] and "truncated input" in errors[0]
    assert "link.png: it is a symbolic link" in errors[1]
    assert "absent.png: No such file" in errors[2]


def test_options_may_stand_behind_the_image(host_bundle: Path, tmp_path: Path) -> None:
    odd = tmp_path / "--top"
    odd.write_bytes(encoded(scene(9, 9), "PNG"))
    done = classify(host_bundle, odd, "--top", "2")
    assert len(json.loads(done.stdout)["top"]) == 2
    command = [str((host_bundle / "repghost-run").absolute()), "--classify", "--top", "1", "--", "--top"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert len(json.loads(done.stdout)["top"]) == 1


def test_names_that_are_no_text_stay_json(host_bundle: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b'/a"\\\xff\xc3\xa9\n.rgb'
    Path(os.fsdecode(name)).write_bytes(random_images(1)[0].tobytes())
    done = subprocess.run(
        [str(host_bundle / "repghost-run"), "--classify", name], capture_output=True, timeout=60, check=True
    )
    assert os.fsencode(json.loads(done.stdout)["picture"]) == name


def test_scores_that_are_no_numbers_stay_json(host_bundle: Path, host: Target, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(host_bundle, tmp_path / "copy"))
    zero = "(float)(sum - sum)"
    source = SOURCE.replace("(float)sum * 0.125f", f"c == 3 ? 2.0f : c % 2 ? 0.0f / {zero} : -1.0f / {zero}")
    reseal(bundle, "model.so", link_model(fake_network(host, source), host, fake_info()))
    path = tmp_path / "image.png"
    path.write_bytes(encoded(scene(20, 30), "PNG"))
    words: list[str] = []
    line = json.loads(classify(bundle, path, "--top", "10").stdout, parse_constant=words.append)
    assert words == []
    assert line["top"][0] == {"class": 3, "label": "class 3", "logit": 2.0, "probability": None}


def test_a_raw_image_is_taken_as_it_is(host_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "picture.rgb"
    path.write_bytes(random_images(1)[0].tobytes())
    done = classify(host_bundle, "--top", "10", path)
    assert scores(done.stdout) == dict(enumerate(load(host_bundle).logits(random_images(1))[0].tolist()))


def test_the_pixels_of_an_image_are_limited(host_bundle: Path, tmp_path: Path) -> None:
    large, small, plain = tmp_path / "large.png", tmp_path / "small.jpg", tmp_path / "plain.ppm"
    large.write_bytes(black_png(1, 0, 4097, 4096))
    small.write_bytes(encoded(scene(20, 30), "JPEG"))
    plain.write_bytes(encoded(scene(20, 30), "PPM"))
    done = classify(host_bundle, large, small)
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1)
    assert all(told in done.stderr for told in ("4097 x 4096", "16777216", "89478485", "--max-pixels"))
    assert classify(host_bundle, large, "--max-pixels", str(4097 * 4096)).returncode == 0
    done = classify(host_bundle, small, plain, "--max-pixels", "599")
    assert (done.returncode, done.stdout, len(re.findall("20 x 30 .* 599", done.stderr))) == (2, "", 2)
    assert classify(host_bundle, small, plain, "--max-pixels", "600").returncode == 0
    for wrong in ("0", str(MAX_PIXELS + 1), "many"):
        assert f"from 1 to {MAX_PIXELS}" in classify(host_bundle, small, "--max-pixels", wrong).stderr


@pytest.mark.slow
def test_the_largest_image_fits_a_small_board(host_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(black_png(16, 6, 4096, 4096))  # of PNG, what takes most memory
    limited = ("sh", "-c", 'ulimit -v 350000; exec "$0" "$@"')
    done = classify(host_bundle, tmp_path / "large.png", prefix=limited)
    assert done.returncode == 0, done.stderr


class Watched:
    """A runner that watches a folder."""

    def __init__(self, bundle: Path, folder: Path, *options: str) -> None:
        command = [str(bundle / "repghost-run"), "--watch", str(folder), "--interval", "30", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: Queue[str] = Queue()
        self.reader = Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout or ()], daemon=True)
        self.reader.start()

    def line(self) -> dict[str, Any]:
        return dict(json.loads(self.lines.get(timeout=60)))

    def name(self) -> str:
        return Path(self.line()["picture"]).name

    def silent(self, seconds: float) -> bool:
        try:
            self.lines.get(timeout=seconds)
        except Empty:
            return True
        return False

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        return code, self.process.stderr.read() if self.process.stderr else ""

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join(10)
        for stream in filter(None, (self.process.stdout, self.process.stderr)):
            stream.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a folder"
    path.mkdir()
    return path


@pytest.fixture
def watched(host_bundle: Path, folder: Path) -> Iterator[Watched]:
    (folder / "old.png").write_bytes(encoded(scene(9, 9), "PNG"))
    found = Watched(host_bundle, folder)
    assert found.line()["command"] == "watch"
    yield found
    found.close()


def test_images_are_classified_as_they_arrive(watched: Watched, folder: Path, host_bundle: Path) -> None:
    path = folder / "first.png"
    path.write_bytes(encoded(scene(20, 30), "PNG"))
    line = watched.line()
    assert line["command"] == "watch"
    assert Path(line["picture"]) == path
    best = expected(host_bundle, path).max()
    assert line["top"][0]["logit"] == pytest.approx(best)
    (folder / ".hidden.png").write_bytes(path.read_bytes())
    (folder / "notes.txt").write_text("no picture")
    (folder / "pipe.png").mkdir()
    Path(shutil.copy(path, folder / ".incoming")).rename(folder / "second.jpg")
    assert watched.name() == "second.jpg"
    path.write_bytes(encoded(scene(21, 30), "PNG"))  # the same name, another image
    assert watched.name() == "first.png"
    assert watched.end() == (0, "")


def test_a_half_written_image_is_taken_when_it_is_whole(watched: Watched, folder: Path) -> None:
    data = encoded(scene(200, 150), "PNG")
    with (folder / "slow.png").open("wb") as file:
        for start in range(0, len(data), len(data) // 12 + 1):
            file.write(data[start : start + len(data) // 12 + 1])
            file.flush()
            time.sleep(0.02)
    assert watched.name() == "slow.png"
    with (folder / "stuck.png").open("wb") as file:
        file.write(data[:1000])
        file.flush()
        assert watched.silent(0.5)
        file.write(data[1000:])
    assert watched.name() == "stuck.png"
    code, errors = watched.end()
    assert code == 0
    assert all("truncated input" in line for line in errors.splitlines())


def test_the_images_that_are_there_can_be_asked_for(host_bundle: Path, folder: Path) -> None:
    for index in range(5):
        (folder / f"{index}.png").write_bytes(encoded(scene(9, 9 + index), "PNG"))
    found = Watched(host_bundle, folder, "--existing", "--count", "4")
    assert found.line()["interval_ms"] == 30
    assert [found.name() for _ in range(4)] == ["0.png", "1.png", "2.png", "3.png"]
    assert found.process.wait(60) == 0
    found.close()


def test_a_folder_that_goes_away_is_an_error(watched: Watched, folder: Path) -> None:
    shutil.rmtree(folder)
    assert watched.process.wait(60) == 2
    assert watched.process.stderr is not None
    assert "cannot list" in watched.process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--watch"], "--watch needs a folder"),
        (["--watch", "/nonexistent"], "cannot list /nonexistent"),
        (["--watch", "/", "--interval", "5"], "--interval takes a whole number from 10"),
        (["--watch", "/", "--classify"], "one command at a time"),
    ],
)
def test_wrong_watching_is_named(host_bundle: Path, arguments: list[str], message: str) -> None:
    command = [str(host_bundle / "repghost-run"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stderr
