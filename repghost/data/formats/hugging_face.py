"""Sets of the datasets package, by timm's spelling hfds/NAME or as the folder that it wrote: Arrow and Parquet.

Images are read as the bytes that lie in the table and decoded as those of any file; nothing is unpickled, and paths
that a table names are not followed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.channels import RGB
from repghost.data.base import MissingSplitError, UnlabelledSplitError
from repghost.data.formats.prefixed import without_prefix
from repghost.data.images.decode import MAX_FILE_BYTES, ImageError, decode_image
from repghost.data.names.class_names import MAX_CLASSES, check_class_name
from repghost.data.names.split_names import find_names
from repghost.errors import ToolMissingError, UsageError, install_command
from repghost.terminal import bars_off, escape

PREFIX = "hfds/"
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"  # what Dataset.save_to_disk and DatasetDict.save_to_disk leave
NAMES = {"image": ("image", "img"), "label": ("label", "labels", "fine_label")}  # where several columns could be meant
_SAID = 400  # characters of the package's own message


@dataclass(frozen=True, eq=False)
class HuggingFaceSet:
    """Images of one split of a table.

    Attributes:
        classes: the names of its labels, or else the numbers.
        labels: int64 [N].
        broken: a message for each row that is left out because it has no label.
        split: as the set calls it.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    broken: tuple[str, ...]
    split: str
    _source: str
    _images: Any  # datasets.Dataset with one column, of bytes
    _rows: NDArray[np.int64]  # [N]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label, as `image` does."""
        return self.image(index), int(self.labels[index])

    def image(self, index: int, channels: int = RGB) -> Image.Image:
        """Return the image as a network of so many channels takes it.

        Raises:
            ImageError: when it cannot be read or decoded.
        """
        (value,) = self._images[int(self._rows[index])].values()
        data = None if value is None else value["bytes"]
        if data is None or len(data) > MAX_FILE_BYTES:
            what = "its bytes are not in the table" if data is None else f"{len(data)} bytes"
            raise ImageError(f"{self.name(index)}: {what}; at most {MAX_FILE_BYTES} bytes in the table are read.")
        return decode_image(data, self.name(index), channels=channels)

    def name(self, index: int) -> str:
        """Return the set, the split and the row."""
        return f"{self._source}:{self.split}#{self._rows[index]}"


def is_hugging_face(path: Path) -> bool:
    """Return whether a name means a set of the datasets package: hfds/NAME, or a folder that the package wrote."""
    if path.is_dir():
        return (path / SAVED).is_file() or (path / SAVED_SPLITS).is_file() or _has_parquet(path)
    return str(path).startswith(PREFIX)


def open_hugging_face(path: Path, split: str) -> HuggingFaceSet:
    """Open one split of a set.

    Args:
        path: hfds/NAME, where NAME is a folder of this machine or a set of the hub; or such a folder.
        split: that is wanted; test and validation stand in for each other.

    Raises:
        MissingSplitError: when there is none.
        UnlabelledSplitError: when its images have no labels.
        ToolMissingError: when datasets is not installed.
        UsageError: when the set cannot be had, or has no column of images and one of labels.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ToolMissingError(f"{path}: such sets need datasets: {install_command('datasets')}") from error
    if bars_off() or not sys.stderr.isatty():
        datasets.disable_progress_bars()
    place = without_prefix(path, PREFIX)
    try:
        table, found = _load(datasets, place, split)
    except UsageError:
        raise
    except Exception as error:  # what a package of others raises for files and names of others
        said = escape(" ".join(str(error).split()), _SAID)
        raise UsageError(
            f"{path}: the datasets package cannot read it ({type(error).__name__}: {said}). Give hfds/NAME of the hub, "
            "or a folder that save_to_disk or to_parquet wrote."
        ) from error
    return _split_of(datasets, table, f"{place}", found)


def _load(datasets: Any, place: Path, split: str) -> tuple[Any, str]:
    """Return the table of a split, and what the set calls it."""
    if (place / SAVED_SPLITS).is_file() or (place / SAVED).is_file():
        saved = datasets.load_from_disk(str(place))
        parts = saved if isinstance(saved, dict) else {str(saved.split or "train"): saved}
        found = _find(split, tuple(map(str, parts)), place)
        return parts[found], found
    name = str(place.absolute()) if place.is_dir() else place.as_posix()
    found = _find(split, tuple(map(str, datasets.get_dataset_split_names(name))), place)
    return datasets.load_dataset(name, split=found), found


def _find(split: str, present: tuple[str, ...], place: Path) -> str:
    """Return what the set calls a split."""
    names = find_names(split, present)
    if not names:
        there = ", ".join(escape(name) for name in present) or "none"
        raise MissingSplitError(f"{place}: no split {split!r}; there are: {there}.")
    return names[0]


def _split_of(datasets: Any, table: Any, source: str, split: str) -> HuggingFaceSet:
    """Return the images of a table whose rows have a label."""
    features = table.features
    image = _column(features, "image", source, lambda kind: isinstance(kind, datasets.Image))
    label = _column(features, "label", source, lambda kind: isinstance(kind, datasets.ClassLabel) or _is_whole(kind))
    column = table.with_format("arrow").select_columns([label])[:].column(label)
    given = np.asarray(column.fill_null(-1).to_numpy(), np.int64)
    names = getattr(features[label], "names", None)
    count = len(names) if names else int(given.max(initial=-1)) + 1
    if count > MAX_CLASSES or given.max(initial=-1) >= count:
        raise UsageError(f"{source}: label {given.max()} of column {label!r} is outside its {count} classes.")
    classes = tuple(check_class_name(name, source) for name in names) if names else tuple(map(str, range(count)))
    if len(set(classes)) < count:
        raise UsageError(f"{source}: two of the {count} classes of column {label!r} have the same name.")
    rows = np.flatnonzero(given >= 0)
    if not len(rows):
        raise UnlabelledSplitError(f"{source}: the {len(given)} pictures of the split {split!r} have no labels.")
    images = table.with_format(None).select_columns([image]).cast_column(image, datasets.Image(decode=False))
    broken = tuple(f"{source}:{split}#{row} has no label" for row in np.flatnonzero(given < 0).tolist())
    return HuggingFaceSet(classes, given[rows], broken, split, source, images, rows)


def _column(features: Any, what: str, source: str, fits: Any) -> str:
    """Return the column of images or of labels; where several fit, the one of a usual name."""
    found = [name for name, kind in features.items() if fits(kind)]
    usual = [name for name in NAMES[what] if name in found]
    if not usual and len(found) != 1:
        there = ", ".join(escape(name) for name in features)
        raise UsageError(
            f"{source}: {len(found)} columns could be the {what}, of {there}; one called {NAMES[what][0]!r} is taken."
        )
    return str((usual or found)[0])


def _is_whole(kind: Any) -> bool:
    """Return whether a column holds whole numbers."""
    return str(getattr(kind, "dtype", "")).lstrip("u") in ("int8", "int16", "int32", "int64")


def _has_parquet(folder: Path) -> bool:
    """Return whether a folder holds Parquet files, in itself or in its folder data, as the hub lays sets out."""
    places = (folder, folder / "data")
    return any(next(place.glob("*.parquet"), None) is not None for place in places if place.is_dir())
