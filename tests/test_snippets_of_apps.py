"""docs/runner.md: what it shows for apps compiles where a compiler is at hand, and gives the scores of Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from compile.link.zig import run_zig
from compile.targets.table import Target
from repghost_runtime import Model
from tests.support import ROOT
from tests.support.fake_network import CLASSES

PAGE = (ROOT / "docs/runner.md").read_text()
WIDTH, HEIGHT, APART = 21, 13, 5
FRAME = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH + APART, 4)).astype(np.uint8)

# What Kotlin compiles to, for machines with Java alone: the same names, so the same functions of C.
JAVA = """
package repghost;
public class RepGhost {
  native String info();
  native int infer(java.nio.ByteBuffer rgba, int width, int height, int stride, int imageBytes, float[] scores);
  static { System.loadLibrary("repghost"); System.loadLibrary("repghost_jni"); }
}
"""
JAVA_MAIN = """
package repghost;
import java.nio.*; import java.nio.file.*;
public class Main {
  public static void main(String[] a) throws Exception {
    byte[] bytes = Files.readAllBytes(Paths.get(a[0]));
    ByteBuffer frame = ByteBuffer.allocateDirect(bytes.length).put(bytes);
    int width = Integer.parseInt(a[1]), height = Integer.parseInt(a[2]), stride = Integer.parseInt(a[3]);
    RepGhost net = new RepGhost();
    float[] scores = new float[Integer.parseInt(a[4])];
    int status = net.infer(frame, width, height, stride, Integer.parseInt(a[5]), scores);
    int wrong = net.infer(frame, width, height + 1, stride, Integer.parseInt(a[5]), scores);
    System.out.println("{\\"info\\":" + net.info() + ",\\"status\\":" + status + ",\\"wrong\\":" + wrong
                       + ",\\"scores\\":" + java.util.Arrays.toString(scores) + "}");
  }
}
"""
KOTLIN_MAIN = """
package repghost
import java.nio.ByteBuffer
import java.nio.file.*
fun main(a: Array<String>) {
    val bytes = Files.readAllBytes(Paths.get(a[0]))
    val frame = ByteBuffer.allocateDirect(bytes.size).put(bytes)
    val net = RepGhost()
    val scores = net.scores(frame as ByteBuffer, a[1].toInt(), a[2].toInt(), a[3].toInt())
    println("{\\"classes\\":${net.classes},\\"scores\\":${scores.asList()}}")
}
"""


def snippet(language: str, part: str) -> str:
    found = [it for it in re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if part in it]
    assert len(found) == 1
    return str(found[0])


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def run(*words: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def libraries(host: Target, host_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """librepghost.so and librepghost_jni.so of this machine, as an app has them, and a frame."""
    headers = Path(program("javac")).resolve().parent.parent / "include"
    if not (headers / "jni.h").is_file():
        pytest.skip("this Java has no jni.h")
    folder = tmp_path_factory.mktemp("app")
    shutil.copy(host_bundle / "model.so", folder / "librepghost.so")
    (folder / "repghost_jni.c").write_text(snippet("c", "jni.h"))
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-D_GNU_SOURCE", "-shared", "-fPIC", "-fno-sanitize=all"]
    include = [f"-I{headers}", f"-I{headers / 'linux'}", f"-I{host_bundle}"]
    link = ["repghost_jni.c", "-L.", "-lrepghost", "-o", "librepghost_jni.so"]
    run_zig(["cc", "-target", host.zig_triple, *flags, *include, *link], cwd=folder)
    (folder / "frame").write_bytes(FRAME.tobytes())
    return folder


def check(scores: list[float], bundle: Path) -> None:
    expected = Model(bundle)(FRAME[:, :WIDTH, :3]).logits
    np.testing.assert_array_equal(np.array(scores, np.float32), expected)


STRIDE = (WIDTH + APART) * 4


@pytest.mark.slow
def test_the_functions_for_java(libraries: Path, host_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "RepGhost.java").write_text(JAVA)
    (tmp_path / "Main.java").write_text(JAVA_MAIN)
    run(program("javac"), "-d", tmp_path, tmp_path / "RepGhost.java", tmp_path / "Main.java")
    sizes = (WIDTH, HEIGHT, STRIDE, CLASSES, 8 * 8 * 3)
    words = (f"-Djava.library.path={libraries}", "-cp", tmp_path, "repghost.Main", libraries / "frame")
    found = json.loads(run(program("java"), *words, *map(str, sizes)))
    assert (found["status"], found["wrong"], found["info"]["classes"]) == (0, -1, CLASSES)
    check(found["scores"], host_bundle)


@pytest.mark.slow
def test_kotlin(libraries: Path, host_bundle: Path, tmp_path: Path) -> None:
    compiler = program("kotlinc")
    (tmp_path / "RepGhost.kt").write_text(snippet("kotlin", "class RepGhost"))
    (tmp_path / "Main.kt").write_text(KOTLIN_MAIN)
    run(compiler, tmp_path / "RepGhost.kt", tmp_path / "Main.kt", "-include-runtime", "-d", tmp_path / "app.jar")
    words = (f"-Djava.library.path={libraries}", "-cp", tmp_path / "app.jar", "repghost.MainKt", libraries / "frame")
    found = json.loads(run(program("java"), *words, str(WIDTH), str(HEIGHT), str(STRIDE)))
    assert found["classes"] == CLASSES
    check(found["scores"], host_bundle)


@pytest.mark.slow
def test_swift(tmp_path: Path) -> None:
    compiler = program("swiftc")
    shutil.copy(ROOT / "compile/runner/repghost.h", tmp_path)
    (tmp_path / "module.modulemap").write_text('module CRepGhost { header "repghost.h" export * }\n')
    (tmp_path / "RepGhost.swift").write_text(snippet("swift", "class RepGhost"))
    run(compiler, "-typecheck", "-warnings-as-errors", "-I", tmp_path, tmp_path / "RepGhost.swift")
