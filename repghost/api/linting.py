"""Whether another runtime takes a Q/DQ file, found without it: `repghost.lint`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.tensorrt.jetpack import check_board, check_dla, find_board, find_jetpack
from compile.tensorrt.lint.check import LintResult, lint_file
from repghost.api.bundles import as_file
from repghost.errors import UsageError, unknown_value
from repghost.terminal import Shown

if TYPE_CHECKING:
    from repghost.api.quantized import QuantizedNetwork

RUNTIMES = ("tensorrt",)


@dataclass(frozen=True, repr=False)
class Lint(Shown):
    """The rules that a file breaks.

    Attributes:
        file: the file.
        runtime: whose rules.
        jetpack: whose TensorRT has to read it.
        result: every breach with its node and the reason, and how many layers are in int8.
    """

    file: Path
    runtime: str
    jetpack: str
    result: LintResult

    @property
    def clean(self) -> bool:
        """Whether no rule is broken."""
        return not self.result.breaches

    def check(self) -> None:
        """Raise UsageError when a rule is broken."""
        count = len(self.result.breaches)
        if count:
            rules = f"{count} breach{'es' * (count > 1)} of TensorRT's rules for JetPack {self.jetpack}"
            raise UsageError(f"{self.file}: {rules}.")

    def __repr__(self) -> str:
        if not self.clean:
            return "\n".join(map(str, self.result.breaches))
        result = self.result
        return f"clean: {len(result.int8_layers)} of {result.layers} layers in int8, JetPack {self.jetpack}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"file": str(self.file), "for": self.runtime, "jetpack": self.jetpack, **self.result.to_dict()}


def lint(
    file: str | os.PathLike[str] | QuantizedNetwork,
    *,
    runtime: str,
    jetpack: str = "6",
    as_float: bool = False,
    dla: bool = False,
    board: str | None = None,
) -> Lint:
    """Return each node of a Q/DQ ONNX file that breaks a rule of another runtime, with the reason.

    Neither the runtime nor the device is needed.

    Args:
        file: the ONNX file, or what `repghost.quantize` returned.
        runtime: whose rules: "tensorrt".
        jetpack: whose TensorRT has to read it: "5", "6" or "7".
        as_float: the file is float on purpose; int8 is not asked for.
        dla: it is meant for the deep learning accelerator.
        board: the Jetson it is for, e.g. "orin-nano"; refused where the JetPack does not run on it.

    Raises:
        UsageError: when the file cannot be read, or an argument is unknown.
    """
    if runtime not in RUNTIMES:
        raise unknown_value("runtime", runtime, RUNTIMES)
    row = find_jetpack(jetpack)
    if board is not None:
        module = find_board(board)
        check_board(module, row)
        if dla:
            check_dla(module)
    with as_file(file) as path:
        result = lint_file(path, row, not as_float and not dla, dla)
    shown = Path(str(getattr(file, "name", path))) if hasattr(file, "quantized") else path
    return Lint(shown, runtime, row.name, result)
