from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import repghost
from calib.integer.reference import run
from compile.stages.quantize import read_program
from repghost.errors import AccuracyGateError, NoteWarning, UsageError
from tests.support.small_classifier import CLASSES, PREPROCESS, image, small_classifier, write_set

NET = small_classifier()
IMAGES = np.stack([image(name, seed) for seed in range(8) for name in CLASSES])


def test_the_whole_way_from_a_module_to_a_file(tmp_path: Path) -> None:
    data = repghost.open_dataset(write_set(tmp_path / "set"))
    q = repghost.quantize(NET, data.calibration)
    assert q.labels == CLASSES and q.preprocess == PREPROCESS and len(q.calibration.labels) == 12
    change = q.compare(NET, data.test)
    assert change.change.pictures == 12 and change.before.name == "Sequential"
    file = q.save(tmp_path / "net.qdq.onnx")
    program = read_program(file)
    assert program.digest == q.digest
    assert np.array_equal(run(program, IMAGES), q.logits(IMAGES))  # to the bit what the file computes
    assert json.loads((tmp_path / "net.qdq.config.json").read_text()) == q.config.to_dict()
    assert repghost.evaluate(file, data.test).top1 == q.evaluate(data.test).top1
    assert q.digest[:12] in repr(q) and "bilinear" in q._repr_html_()
    assert json.loads(json.dumps(q.to_dict()))["program_digest"] == q.digest


def test_equal_input_gives_equal_bytes_in_every_form() -> None:
    normalized = torch.from_numpy(PREPROCESS.normalize(IMAGES))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(normalized, torch.arange(3).repeat(8)), 5)
    forms = [IMAGES, list(IMAGES), normalized, loader]
    assert len({repghost.quantize(NET, form).digest for form in forms}) == 1
    assert repghost.quantize(NET, IMAGES, images=7).digest != repghost.quantize(NET, IMAGES).digest


def test_a_float_network_is_compared_on_images_as_int8_was_calibrated(tmp_path: Path) -> None:
    """A module says what it was published with, which is not what its owner calibrated with."""
    data = repghost.open_dataset(write_set(tmp_path / "set"))
    half = repghost.Preprocess(size=PREPROCESS.height // 2, resize=PREPROCESS.height // 2)
    q = repghost.quantize(NET, data.calibration, preprocess=half)
    found = q.compare(NET, data.test)
    assert found.before.preprocess == found.after.preprocess == half


def test_settings_come_in_every_form(tmp_path: Path) -> None:
    config = repghost.QuantConfig(ranges_by_answers=False, defaults=repghost.LayerSettings(observer="min_max"))
    file = tmp_path / "config.json"
    file.write_text(config.to_json())
    forms = [config, config.to_dict(), file]
    made = [repghost.quantize(NET, IMAGES, form) for form in forms]
    made.append(repghost.quantize(NET, IMAGES, algorithm="min_max"))
    assert {q.digest for q in made} == {made[0].digest} and {q.config for q in made} == {config}
    assert repghost.quantize(NET, IMAGES, policy="tensorrt").config.policy == "tensorrt"


@pytest.mark.slow
def test_a_search_evaluates_on_images_that_calibrate_nothing(tmp_path: Path) -> None:
    data = repghost.open_dataset(write_set(tmp_path, ("train",), each=6))
    tried: list[str] = []
    q = repghost.quantize(
        NET, data.calibration, images=9, algorithm="auto", max_drop=50, on_trial=lambda trial: tried.append(trial.name)
    )
    assert q.search is not None and tried == ["the settings as given"]
    assert q.search.chosen.difference.pictures == 9 and q.to_dict()["search"]["chosen"] == tried[0]
    with pytest.raises(AccuracyGateError):
        repghost.quantize(NET, data.calibration, images=9, algorithm="auto", max_drop=-101)
    with pytest.raises(UsageError, match="evaluates on labelled pictures"):
        repghost.quantize(NET, IMAGES, algorithm="auto")


def test_sensitivity_is_a_table_and_a_figure(tmp_path: Path) -> None:
    q = repghost.quantize(NET, IMAGES)
    found = q.sensitivity()
    assert found.rows == q.sensitivity(IMAGES).rows and found.about["pictures"] == 24
    assert found.rows[0].share == max(row.share for row in found.rows)
    assert found.rows[0].name in repr(found) and found.rows[0].name in found._repr_html_()
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    assert found.save(tmp_path / "layers.svg").read_text().startswith("<?xml")
    assert found.to_dict()["model"] == "Sequential"


def test_loose_pictures_calibrate_without_classes(tmp_path: Path) -> None:
    from PIL import Image

    for index in range(4):
        Image.fromarray(IMAGES[index]).save(tmp_path / f"{index}.png")
    assert repghost.quantize(NET, tmp_path).digest == repghost.quantize(NET, IMAGES[:4]).digest
    assert repghost.quantize(NET, tmp_path / "0.png").digest == repghost.quantize(NET, IMAGES[:1]).digest


def test_the_float_network_stays_as_it_was() -> None:
    net = small_classifier()
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.warns(NoteWarning, match="training mode"):
        found = repghost.quantize(net, IMAGES)
    assert found.digest == repghost.quantize(NET, IMAGES).digest
    assert net.training and all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


class Fourier(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(x.mean((1, 2, 3))[:, None, None].expand(-1, 3, 3)).flatten(1)


@pytest.mark.parametrize(
    ("network", "data", "options", "said"),
    [
        (NET, [], {}, "yields no image"),
        (NET, torch.utils.data.DataLoader([], batch_size=2), {}, "yields no image"),
        (NET, IMAGES / 255, {}, "pixels='0..1'"),
        (NET, IMAGES, {"images": 0}, "at least 1"),
        (NET, IMAGES, {"algorithm": "best"}, "unknown algorithm"),
        (NET, IMAGES, {"policy": "gpu"}, "unknown policy"),
        (NET, IMAGES, {"max_drop": 1.0}, "belong to algorithm='auto'"),
        (NET, IMAGES, {"config": {"observer": "none"}}, "observer"),
        (Fourier().eval(), IMAGES, {"preprocess": PREPROCESS}, "Fourier"),  # an operator that nothing here computes
        ("timm:mobilenetv3_small_050", IMAGES, {}, "needs weights"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(network: object, data: object, options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        repghost.quantize(network, data, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("images", [IMAGES[0], IMAGES / 255, IMAGES.transpose(0, 3, 1, 2), IMAGES.repeat(2, 1)])
def test_logits_are_of_prepared_images(images: np.ndarray) -> None:
    q = repghost.quantize(NET, IMAGES, algorithm="min_max")
    assert np.array_equal(q.logits(torch.from_numpy(IMAGES)), q.logits(list(IMAGES)))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"uint8 \[N, 16, 16, 3\], not .* repghost\.predict"):
        q.logits(images)


def test_a_quantized_file_is_not_quantized_again(tmp_path: Path) -> None:
    file = repghost.quantize(NET, IMAGES, algorithm="min_max").save(tmp_path / "net.qdq.onnx")
    for call in (lambda: repghost.quantize(file, IMAGES), lambda: repghost.export(file, tmp_path / "again.onnx")):
        with pytest.raises(UsageError, match=r"net\.qdq\.onnx is quantized already: compile, evaluate"):
            call()


def test_nothing_is_written_half(tmp_path: Path) -> None:
    q = repghost.quantize(NET, IMAGES)
    with pytest.raises(UsageError, match="has to end in"):
        q.save(tmp_path / "net.tflite")
    assert list(tmp_path.iterdir()) == []
    onnx.checker.check_model(onnx.load(q.save(tmp_path / "net.onnx")))


def test_the_keyboard_ends_a_call_and_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repghost.quantize(NET, IMAGES, progress=interrupt)
    assert repghost.quantize(NET, IMAGES).digest  # and the next call is as any other


def test_pictures_that_are_left_out_or_copies_are_warned_of(tmp_path: Path) -> None:
    from PIL import Image

    for index in range(2):
        Image.fromarray(IMAGES[0]).save(tmp_path / f"{index}.png")
    with pytest.warns(NoteWarning, match="1 of 2 pictures to calibrate with are copies"):
        repghost.quantize(NET, tmp_path)
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.warns(NoteWarning, match="1 broken picture") as told:
        q = repghost.quantize(NET, tmp_path)
    assert told[0].filename == __file__ and len(q.calibration.labels) == 1  # it names the line that called
