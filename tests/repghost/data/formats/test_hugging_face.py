"""Sets of the datasets package: by hfds/NAME or as a folder, in Arrow and in Parquet; and timm's --dataset."""

from __future__ import annotations

import importlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from repghost.cli import cli
from repghost.commands.options.args_file import from_file
from repghost.commands.training.train import command as train
from repghost.commands.training.validate import command as validate
from repghost.data import ImageError, MissingSplitError, UnlabelledSplitError, open_dataset
from repghost.data.formats.prefixed import without_prefix
from repghost.data.formats.shards import is_shards, shard_paths
from repghost.errors import ToolMissingError, UsageError, install_command

CLASSES = ("cat", "dog")
pytestmark = pytest.mark.filterwarnings("ignore:Cannot (locate|pickle)")  # what dill says as the package names tables


def png(value: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 12, 3), value, np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def rows(count: int = 6) -> dict[str, list[Any]]:
    return {"picture": [png(10 * place) for place in range(count)], "label": [place % 2 for place in range(count)]}


def table(values: dict[str, list[Any]], names: tuple[str, ...] = CLASSES) -> Any:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=list(names)) if names else datasets.Value("int64")
    features = datasets.Features({"picture": datasets.Image(), "label": label})
    return datasets.Dataset.from_dict(values, features=features)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the package's cache out of the home, and let it ask nobody."""
    for name, value in {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    if (datasets := sys.modules.get("datasets")) is not None:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrow", "parquet", "one split"])
def test_a_folder_is_read_by_its_splits(kind: str, tmp_path: Path) -> None:
    made, folder = table(rows()), tmp_path / "set"
    if kind == "parquet":
        for split in ("train", "validation"):
            made.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    elif kind == "arrow":
        sys.modules["datasets"].DatasetDict({"train": made, "validation": made}).save_to_disk(str(folder))
    else:
        made.save_to_disk(str(folder))
    for path in (folder, Path(f"hfds/{folder}")):
        found = open_dataset(path, "train")
        assert (len(found), found.classes, found.labels.tolist()) == (6, CLASSES, [0, 1] * 3)
        image, label = found[3]
        assert (image.size, image.getpixel((0, 0)), label) == ((12, 8), (30, 30, 30), 1)
        assert found.name(3) == f"{folder}:train#3"
        if kind == "one split":
            with pytest.raises(MissingSplitError, match="there are: train"):
                open_dataset(path, "test")
        else:
            assert getattr(open_dataset(path, "test"), "split", None) == "validation"
    with pytest.raises(UsageError, match="val_share= has no effect"):
        open_dataset(folder, "train", None, 0.3)


@pytest.mark.slow
def test_rows_without_a_label_or_a_picture_are_named(tmp_path: Path) -> None:
    values = rows()
    values["label"][1], values["picture"][2] = None, {"bytes": None, "path": "/etc/passwd"}
    values["picture"][3] = {"bytes": b"no picture", "path": None}
    (tmp_path / "set").mkdir()
    made = table(values)  # save_to_disk would take the bytes of that file into the table
    importlib.import_module("pyarrow.parquet").write_table(made.data.table, tmp_path / "set" / "train.parquet")
    found = open_dataset(tmp_path / "set", "train")
    assert found.labels.tolist() == [0, 0, 1, 0, 1] and "#1 has no label" in getattr(found, "broken", "")[0]
    for place, message in ((1, r"#2: its bytes are not in the table"), (2, "#3: not a picture of a known format")):
        with pytest.raises(ImageError, match=message):
            found[place]
    table({**rows(), "label": [None] * 6}).save_to_disk(str(tmp_path / "none"))
    with pytest.raises(UnlabelledSplitError, match="the 6 pictures of the split 'train' have no labels"):
        open_dataset(tmp_path / "none", "train")


def test_labels_without_names_are_numbers_and_odd_tables_are_refused(tmp_path: Path) -> None:
    table(rows(), ()).save_to_disk(str(tmp_path / "numbers"))
    assert open_dataset(tmp_path / "numbers", "train").classes == ("0", "1")
    for name, odd in (("blank", ("", "dog")), ("line", ("a\nb", "dog"))):
        table(rows(), odd).save_to_disk(str(tmp_path / name))
        with pytest.raises(UsageError, match="class name"):
            open_dataset(tmp_path / name, "train")
    table(rows()).remove_columns("label").save_to_disk(str(tmp_path / "alone"))
    with pytest.raises(UsageError, match="0 columns could be the label, of picture"):
        open_dataset(tmp_path / "alone", "train")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text("{")
    with pytest.raises(UsageError, match="the datasets package cannot read it"):
        open_dataset(tmp_path / "broken", "train")


def test_what_the_hub_does_not_have_is_said(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(UsageError, match="hfds/nobody/nothing: the datasets package cannot read it"):
        open_dataset(Path("hfds/nobody/nothing"), "train")


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ToolMissingError, match=re.escape(install_command("datasets"))):
        open_dataset(Path("hfds/cifar10"), "train")


def test_shards_have_a_prefix_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    for number in range(2):
        (tmp_path / "train" / f"{number}.tar").touch()
    for text in ("wds/train/{0..1}.tar", f"wds/{tmp_path}/train/{{0..1}}.tar"):
        assert is_shards(Path(text)) and [path.name for path in shard_paths(Path(text))] == ["0.tar", "1.tar"]
    assert without_prefix(Path("hfds/name/set"), "hfds/") == Path("name/set")
    assert without_prefix(Path("name"), "hfds/") == Path("name")


def test_a_set_is_named_as_timm_does(tmp_path: Path) -> None:
    for more in ([], ["--dataset", "folder", "--data", "hfds/food101"]):
        words = more or ["--dataset", "hfds/food101"]
        assert validate.make_context("validate", ["net", *words]).params["data"] == Path("hfds/food101")
    with train.make_context("train", ["--dataset", "hfds/food101"]) as context:
        assert context.params["data"] == Path("hfds/food101") and from_file(context) == frozenset()
    args = tmp_path / "args.yaml"
    args.write_text("dataset: hfds/food101\ndata_dir: /cache\nmodel: repghostnet_0_5x")
    assert validate.make_context("validate", ["net", "-c", str(args)]).params["data"] == Path("hfds/food101")
    for words, message in (
        (["--dataset", "tfds/food101"], "allowed are hfds/NAME and wds/SHARDS"),
        (["--dataset", "hfds/food101", "--data", "here"], "are two sets; give one of them"),
    ):
        for command in (["train"], ["validate", "net"]):
            result = CliRunner().invoke(cli, [*command, *words])
            assert result.exit_code == 2 and message in result.output, result.output
