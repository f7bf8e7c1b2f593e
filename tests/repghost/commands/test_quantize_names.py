"""The name of the file to write is refused before anything is calibrated."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from repghost.cli import cli


@pytest.mark.parametrize("command", ["quantize", "qat"])
def test_the_name_of_another_format_is_refused_before_anything_is_read(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "absent.pt", "--data", "absent", "-o", "net.tflite"])
    assert done.exit_code == 2 and "'net.tflite' has to end in .onnx" in done.output
