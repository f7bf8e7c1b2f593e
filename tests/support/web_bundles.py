"""A bundle for browsers of a network that is written by hand, and what Node says of scripts that use it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compile.bundle.manifest import Bundle, write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.by_form import link_models, make_runner, read_beside
from compile.targets.table import find_target
from repghost.data.names.class_names import to_lines
from tests.support.fake_bundle import LABELS, fake_info, fake_sections
from tests.support.fake_network import expected_logits, fake_network, random_images

WEB = find_target("web")
LIMIT_S = 60


def write_web_bundle(folder: Path, **sections: Any) -> Bundle:
    """Write the bundle into a folder; `sections` take the place of those of its manifest."""
    return write_bundle(folder, web_files(), {**fake_sections(WEB), **sections})


def web_files() -> dict[str, bytes]:
    """Return the files of the bundle by name."""
    images = random_images(12)
    return {
        **link_models(fake_network(WEB), WEB, fake_info()),
        WEB.form.runner: make_runner(WEB),
        **read_beside(WEB.form),
        "labels.txt": to_lines(LABELS),
        "vectors.bin": pack_vectors(Vectors(images, expected_logits(images))),
    }


def run_in_node(bundle: Path, script: str, *arguments: str, module: str = "repghost.js") -> Any:
    """Return the JSON value that a script returns; it has `library`, a module of the bundle, `folder` and `args`."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js: apt install nodejs")
    program = f"""
      const [folder, ...args] = process.argv.slice(1);
      const library = await import('file://' + folder + '/{module}');
      const refused = async (work) => {{
        try {{ await work(); }} catch (error) {{ return [error.code ?? error.name, error.message]; }}
        return null;
      }};
      console.log(JSON.stringify(await (async () => {{ {script} }})()));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", program, "--", str(bundle), *arguments],
        capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
