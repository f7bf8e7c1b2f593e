"""Quantization settings from a JSON file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from calib.settings.config import MAX_CONFIG_BYTES, QuantConfig, config_from_json, default_config
from calib.settings.policy import find_policy
from repghost.errors import UsageError
from repghost.untrusted import read_bounded

_ARGUMENTS = re.compile(rb"\s*[a-z_]+:")  # of an args.yaml; JSON begins with a brace


def read_config(path: Path | QuantConfig | None, policy: str | None) -> QuantConfig:
    """Return the quantization settings of a file, or the policy's defaults; `policy` replaces the file's.

    Args:
        path: a JSON file, or the settings themselves.
        policy: a name of `calib.settings.policy.POLICIES`.

    Raises:
        UsageError: when the file cannot be read or its content is refused, or there is no such policy.
    """
    if path is None:
        return default_config(policy)
    if isinstance(path, QuantConfig):
        return path if policy is None else replace(path, policy=find_policy(policy).name)
    data = read_bounded(path, MAX_CONFIG_BYTES)
    if _ARGUMENTS.match(data):
        raise UsageError(
            f"{path} holds the arguments of a training run, which 'repghost train -c' takes; here give the settings of "
            "a quantization, the JSON that 'repghost quantize' writes beside its file."
        )
    try:
        config = config_from_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"quantization config {str(path)!r} cannot be read: {error}") from error
    except UsageError as error:
        raise UsageError(f"quantization config {str(path)!r}: {error}") from error
    return config if policy is None else replace(config, policy=policy)
