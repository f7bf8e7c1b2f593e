"""`open_dataset`: find out how a set of images is stored and open one split of it."""

from __future__ import annotations

import shlex
from pathlib import Path

from repghost import bundled
from repghost.data.base import ImageSet
from repghost.data.formats.cifar10 import is_cifar10, open_cifar10
from repghost.data.formats.fashion_mnist import open_fashion_mnist, splits_in
from repghost.data.formats.hugging_face import is_hugging_face, open_hugging_face
from repghost.data.formats.imagefolder import open_imagefolder
from repghost.data.formats.one_folder import check_share
from repghost.data.formats.shards import is_shards, open_shards
from repghost.data.formats.tar import TAR_SUFFIXES, open_tar
from repghost.data.names.class_names import not_utf8
from repghost.errors import UsageError, option

CALIBRATION_SPLITS = ("calibration", "train")  # tried in this order; never a split that is evaluated on


def open_dataset(
    path: Path | str, split: str, class_map: Path | None = None, val_share: float | None = None
) -> ImageSet:
    """Open one split of a set of labelled images.

    Args:
        path: an ImageFolder tree, a folder with Fashion-MNIST's idx files, a folder with CIFAR-10 as torchvision
            downloads it, a tar of images in `split/class/` folders, WebDataset shards by a name with braces or behind
            wds/, hfds/NAME or a folder that the datasets package wrote, or "bundled" for the images that come with the
            package.
        split: e.g. "train" or "test"; 'val' and 'valid' are tried where a set has no 'test'.
        class_map: a file that says the class of each image, for a split of a folder without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.

    Returns:
        a sequence of (image in RGB, label) with `.classes`, `.labels` and `.name(index)`.

    Raises:
        UsageError: when the path does not exist, is none of these, or has no such split.
    """
    path = bundled.resolve(path, bundled.DATA)
    if ascii_name := not_utf8(path.name):
        raise UsageError(
            f"the set of pictures {ascii_name} has a name that is not UTF-8, and files name it. Rename it."
        )
    if class_map is not None and not path.is_dir():
        raise UsageError(f"{option('class_map')} has no effect on {path}; it is for folders. Leave it out.")
    if val_share is not None:
        check_share(val_share)
        has_splits = is_shards(path) or is_hugging_face(path) or path.is_file()
        if has_splits or (path.is_dir() and (splits_in(path) or is_cifar10(path))):
            raise UsageError(
                f"{option('val_share')} has no effect on {path}; it is for a folder of classes. Leave it out."
            )
    if is_shards(path):
        return open_shards(path, split)
    if is_hugging_face(path):
        return open_hugging_face(path, split)
    if path.is_file():
        if path.name.endswith(TAR_SUFFIXES):
            return open_tar(path, split)
        if path.suffix.lower() == ".zip":
            folder = str(path.with_suffix(""))
            unpack = shlex.join(["python3", "-m", "zipfile", "-e", str(path), folder])
            raise UsageError(f"{path}: a zip is not read; unpack it: {unpack}, then give {option('data', folder)}.")
        raise UsageError(
            f"{path}: not a set of pictures; give a folder or a file that ends in {', '.join(TAR_SUFFIXES)}."
        )
    if not path.is_dir():
        what = "a pipe, a socket or a device" if path.exists() else "no such file or folder"
        raise UsageError(f"{path}: {what}; give {option('data')} the folder of a set of pictures.")
    if splits_in(path):
        return open_fashion_mnist(path, split)
    if is_cifar10(path):
        return open_cifar10(path, split)
    return open_imagefolder(path, split, class_map, val_share)
