"""Weights that an ONNX file keeps in other files: read from its own folder alone, within limits."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto

from calib.importer.onnx_file import MAX_FILE_BYTES
from calib.importer.onnx_values import stored_tensors
from repghost.errors import UsageError
from repghost.untrusted import LARGEST_INT, parse_int, read_bounded


def with_data_inside(model: onnx.ModelProto, folder: Path | None, size: int) -> tuple[onnx.ModelProto, int]:
    """Return a model whose tensors are all inside, and how many bytes it was read from.

    Args:
        model: parsed and not checked; it is changed.
        folder: of the file, None for bytes that came without one.
        size: bytes of the file.

    Raises:
        UsageError: when data lies outside the folder, is absent, or there is too much of it.
    """
    files: dict[str, bytes] = {}
    for tensor in stored_tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        keys = {entry.key: entry.value for entry in tensor.external_data}
        location = keys.get("location", "")
        if location not in files:
            files[location] = _read(tensor.name, location, folder)
            size += len(files[location])
            if size > MAX_FILE_BYTES:
                raise UsageError(f"the files of its weights have more than {MAX_FILE_BYTES} bytes, which are allowed.")
        data = files[location]
        offset = parse_int(keys.get("offset", "0"), 0, LARGEST_INT)
        length = parse_int(keys.get("length", str(len(data))), 0, LARGEST_INT)
        if offset is None or length is None or ("length" in keys and offset + length > len(data)):
            raise UsageError(
                f"tensor {tensor.name!r} lies at {keys.get('offset')!r}, {keys.get('length')!r} bytes of "
                f"{location!r}, which has {len(data)}. Copy both files again."
            )
        tensor.raw_data = data[offset : offset + length]
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
    return model, size


def _read(name: str, location: str, folder: Path | None) -> bytes:
    if folder is None:
        raise UsageError(
            f"tensor {name!r} keeps its data in another file, {location!r}; give the path of the file, or save the "
            "model with its data inside (onnx.save(model, path, save_as_external_data=False))."
        )
    path = PurePosixPath(location)
    inside = location and not path.is_absolute() and ".." not in path.parts and "\\" not in location
    if not inside or not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"tensor {name!r} keeps its data in {location!r}, outside the folder of the file, which is never read. "
            "Save the model with its data inside (onnx.save(model, path, save_as_external_data=False))."
        )
    return read_bounded(folder / path, MAX_FILE_BYTES)
