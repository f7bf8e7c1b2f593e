"""Quantization settings from a JSON file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calib.settings.config import MAX_CONFIG_BYTES, config_from_json, default_config
from repghost.errors import UsageError
from repghost.untrusted import read_bounded

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig


def read_config(path: Path | None, policy: str | None) -> QuantConfig:
    """Return the quantization settings of a file, or the policy's defaults; `policy` replaces the file's.

    Raises:
        UsageError: when the file cannot be read or its content is refused, or there is no such policy.
    """
    if path is None:
        return default_config(policy)
    data = read_bounded(path, MAX_CONFIG_BYTES)
    try:
        config = config_from_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"quantization config {str(path)!r} cannot be read: {error}") from error
    except UsageError as error:
        raise UsageError(f"quantization config {str(path)!r}: {error}") from error
    return config if policy is None else replace(config, policy=policy)
