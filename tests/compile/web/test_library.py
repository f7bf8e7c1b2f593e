"""repghost.js under Node: the bits of the reference, and a sentence for everything that cannot be used."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compile.bundle.manifest import Bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.by_form import WEB_SOURCES
from compile.storage.strict_json import canonical_json
from compile.targets.forms import WASM
from repghost.data.images.decode import decode_image
from repghost.version import __version__
from tests.support.fake_bundle import PREPROCESS
from tests.support.fake_network import expected_logits, random_images
from tests.support.image_files import black_png, encoded, png, scene
from tests.support.odd_images import EXIF
from tests.support.web_bundles import run_in_node

LOAD = "const model = await library.load(folder);"
FILES = {
    "jpeg": encoded(scene(), "JPEG", quality=90),
    "grey jpeg": encoded(scene().convert("L"), "JPEG"),
    "turned jpeg": encoded(scene(), "JPEG", exif=b"Exif\0\0" + EXIF["one short"]),
    "png": encoded(scene(), "PNG"),
    "transparent png": png(8, 6),
    "deep png": png(16, 2),
    "long png": encoded(scene(211, 40), "PNG"),
}


def changed(bundle: Bundle, folder: Path, name: str, content: bytes, sealed: bool = False) -> Path:
    """A copy of the bundle with one file changed, and where `sealed` a manifest that says so."""
    shutil.copytree(bundle.path, folder)
    (folder / name).write_bytes(content)
    if sealed:
        entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest = {**bundle.manifest, "files": {**bundle.manifest["files"], name: entry}}
        (folder / "manifest.json").write_bytes(canonical_json(manifest))
    return folder


def test_vectors_are_equal_to_the_bit(web_bundle: Bundle) -> None:
    replayed = run_in_node(web_bundle.path, f"{LOAD} return model.verify();")
    assert replayed == {"pictures": 12, "mismatches": 0, "largest": 0, "tolerance": 0}


def test_threads_give_the_same_bits(web_bundle: Bundle) -> None:
    script = """
      const model = await library.load(folder, { threads: 3 });
      const found = [model.threads];
      for (let i = 0; i < 20; i++) found.push((await model.verify()).mismatches);
      model.close();
      return found;"""
    assert run_in_node(web_bundle.path, script) == [3] + [0] * 20


@pytest.mark.parametrize("threads", ["0", "1.5", "17", "'2'"])
def test_threads_that_cannot_be_are_refused(web_bundle: Bundle, threads: str) -> None:
    script = f"return refused(() => library.load(folder, {{ threads: {threads} }}));"
    assert run_in_node(web_bundle.path, script)[0] == "RangeError"


def test_a_thread_that_fails_stops_the_inference() -> None:
    script = """
      const { takePieces, NEXT, COUNT, DONE, FAILED, WORDS, MOST_PIECES } = library;
      const control = new Int32Array(new SharedArrayBuffer(WORDS * 4)), done = [];
      const table = { get: () => (data, piece) => { done.push(piece); if (piece === 1) throw new Error('trap'); } };
      control[COUNT] = 3, control[NEXT] = 7 * (MOST_PIECES + 1);
      takePieces(control, table, 6);
      const before = done.length;
      takePieces(control, table, 7);
      return [before, done, control[DONE], control[FAILED]];"""
    assert run_in_node(WEB_SOURCES, script, module="pieces.js") == [0, [0, 1, 2], 3, 1]


def test_a_thread_that_is_late_takes_no_piece_of_the_next_step() -> None:
    script = """
      const { beginStep, endStep, takePieces, COUNT, WORDS } = library, done = [];
      const control = new Int32Array(new SharedArrayBuffer(WORDS * 4));
      const table = { get: (task) => (data, piece) => done.push([task, piece]) };
      beginStep(control, 1, 10, 0, 2);
      takePieces(control, table, 1);
      endStep(control, 1);
      control[COUNT] = 3; // the next step is being said, and another thread still looks at the first one
      takePieces(control, table, 1);
      beginStep(control, 2, 20, 0, 3);
      takePieces(control, table, 1);
      takePieces(control, table, 2);
      return done;"""
    done = run_in_node(WEB_SOURCES, script, module="pieces.js")
    assert done == [[10, 0], [10, 1], [20, 0], [20, 1], [20, 2]]


def test_memory_does_not_grow_with_the_number_of_images(web_bundle: Bundle) -> None:
    script = f"""
      let grown = 0;
      const grow = WebAssembly.Memory.prototype.grow;
      WebAssembly.Memory.prototype.grow = function (pages) {{ grown += pages; return grow.call(this, pages); }};
      {LOAD}
      const image = (side) => ({{ data: new Uint8Array(side * side * 3), width: side, height: side }});
      await model.predict(image(2000));
      const first = grown;
      for (let i = 0; i < 20; i++) await model.predict(image(2000 - i));
      return [first > 0, grown - first];"""
    assert run_in_node(web_bundle.path, script) == [True, 0]


def test_a_score_that_differs_by_one_bit_is_counted(web_bundle: Bundle, tmp_path: Path) -> None:
    images = random_images(3)
    logits = expected_logits(images)
    logits[1, 4] = np.nextafter(logits[1, 4], np.float32(np.inf))
    folder = changed(web_bundle, tmp_path / "b", "vectors.bin", pack_vectors(Vectors(images, logits)), sealed=True)
    assert run_in_node(folder, f"{LOAD} return (await model.verify()).mismatches;") == 1


@pytest.mark.parametrize("kind", FILES)
def test_files_give_the_scores_of_the_reference(web_bundle: Bundle, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "image"
    file.write_bytes(FILES[kind])
    prepared = PREPROCESS.apply(decode_image(FILES[kind], kind))[None]
    read = "const bytes = new Uint8Array((await import('node:fs')).readFileSync(args[0]));"
    found = run_in_node(
        web_bundle.path, f"{LOAD} {read} return Array.from((await model.predict(bytes)).logits);", str(file)
    )
    assert np.array_equal(np.float32(found), expected_logits(prepared)[0])


def test_stored_bands_are_those_of_python_and_drawings_are_refused(web_bundle: Bundle, tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    file = tmp_path / "four.png"
    Image.fromarray(rgba).save(file)
    script = """
      const { pixelsOf } = await import('file://' + folder + '/pixels.js'), fs = await import('node:fs');
      const files = { has: () => true, read: async (name) => fs.readFileSync(`${folder}/${name}`) };
      const bytes = new Uint8Array(fs.readFileSync(args[0])), found = await pixelsOf(bytes, files, undefined, 4);
      const again = await pixelsOf(found, files, undefined, 4);
      return [found.width, Array.from(found.data), Array.from(again.data),
        await refused(() => pixelsOf(bytes, files, undefined, 2)),
        await refused(() => pixelsOf(found, files, undefined, 2)),
        await refused(() => pixelsOf({ naturalWidth: 3, naturalHeight: 3 }, files, undefined, 4))];"""
    width, data, again, *said = run_in_node(web_bundle.path, script, str(file))
    assert width == rgba.shape[1] and data == again == rgba.ravel().tolist()
    assert [code for code, _ in said] == ["image"] * 3
    for words, (_, message) in zip(("of 2 bands", "need", "lost bits"), said, strict=True):
        assert words in message


def test_transparent_pixels_are_laid_over_white_as_pillow_does(web_bundle: Bundle) -> None:
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([colour, 255 - colour, colour // 2, alpha], -1).astype(np.uint8)
    white = Image.new("RGBA", (256, 256), (255, 255, 255, 255))
    expected = Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB").tobytes()
    script = """
      const { pixelsOf } = await import('file://' + folder + '/pixels.js');
      const data = new Uint8ClampedArray(256 * 256 * 4);
      for (let i = 0; i < 65536; i++) data.set([i & 255, 255 - (i & 255), (i & 255) >> 1, i >> 8], i * 4);
      const { data: rgb } = await pixelsOf({ data, width: 256, height: 256 });
      return (await import('node:crypto')).createHash('sha256').update(rgb).digest('hex');
    """
    assert run_in_node(web_bundle.path, script) == hashlib.sha256(expected).hexdigest()


def test_the_best_classes_come_first_and_their_probabilities_are_those_of_softmax(web_bundle: Bundle) -> None:
    script = f"""{LOAD}
      const image = {{ data: new Uint8Array(8 * 8 * 3).fill(1), width: 8, height: 8 }};
      return [await model.top(image, 10), await model.predict(image)];"""
    top, best = run_in_node(web_bundle.path, script)
    logits = expected_logits(np.ones((1, 8, 8, 3), np.uint8))[0].astype(np.float64)
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [it["index"] for it in top] == sorted(range(10), key=lambda index: (-logits[index], index))
    assert np.allclose([it["probability"] for it in top], shares[[it["index"] for it in top]], rtol=1e-12)
    assert best["index"] == top[0]["index"] and best["label"] == f"class {best['index']}"


def test_two_models_live_side_by_side_and_one_goes(web_bundle: Bundle) -> None:
    script = f"""{LOAD} const other = await library.load(folder);
      const rgb = [1, 9].map((value) => new Uint8Array(8 * 8 * 3).fill(value));
      const before = [model.logits(rgb[0]), other.logits(rgb[1]), model.logits(rgb[0])].map((it) => Array.from(it));
      other.close();
      return [before, Array.from(model.logits(rgb[0])), await refused(() => other.logits(rgb[0]))];"""
    (first, second, again), after, closed = run_in_node(web_bundle.path, script)
    assert first == again == after != second
    assert closed[0] == "closed"


ENGINES = """
  const clamp = (value) => Math.max(-32768, Math.min(32767, value));
  const engines = { // what the sum of four products of the relaxed dot product is
    unsigned: (a, b) => a.reduce((sum, it, i) => sum + it * b[i], 0),
    signed: (a, b) => a.reduce((sum, it, i) => sum + it * (b[i] << 24 >> 24), 0),
    limited: (a, b) => clamp(a[0] * b[0] + a[1] * b[1]) + clamp(a[2] * b[2] + a[3] * b[3]),
    none: null,
  };
  const variantsOf = async (name) => { // the library in such an engine
    const dot = engines[name], buffer = new ArrayBuffer(64);
    const [left, right] = [new Int8Array(buffer), new Uint8Array(buffer)];
    const [start, sums] = [new Int32Array(buffer, 32, 4), new Int32Array(buffer, 48, 4)];
    const part = (bytes, at) => Array.from(bytes.subarray(at, at + 4));
    WebAssembly.validate = () => dot !== null;
    WebAssembly.Module = class {};
    WebAssembly.Instance = class {
      exports = { m: { buffer }, f: () => sums.forEach((_, lane) => {
        sums[lane] = start[lane] + dot(part(left, 4 * lane), part(right, 16 + 4 * lane));
      }) };
    };
    return import('file://' + folder + '/variants.js?' + name);
  };
"""


def test_relaxed_instructions_run_where_the_engine_makes_them_exact(web_bundle: Bundle) -> None:
    script = f"""{ENGINES}
      const found = {{}}, files = {{ 'model.wasm': 1, 'model-relaxed.wasm': 1 }};
      for (const name of Object.keys(engines)) {{
        const {{ modelFile }} = await variantsOf(name), whole = {{ files, variants: ['simd128', 'relaxed'] }};
        found[name] = [modelFile(whole), modelFile({{ files, variants: ['simd128', 'madd'] }}),
          modelFile(whole, 'simd128'), await refused(() => modelFile(whole, 'relaxed')),
          await refused(() => modelFile(whole, 'madd'))];
      }}
      return found;"""
    found = run_in_node(web_bundle.path, script)
    plain, relaxed = WASM.model, WASM.model_of("relaxed")
    assert WASM.model_of("simd128") == plain and relaxed == WASM.model_of("madd") != plain
    chosen = {"unsigned": [relaxed, relaxed], "signed": [plain, relaxed], "limited": [plain, relaxed]}
    assert {name: files[:2] for name, files in found.items()} == {**chosen, "none": [plain, plain]}
    for name, (*_, same, refused, unknown) in found.items():
        assert same == plain
        assert (refused is None) == (name == "unsigned")
        assert refused is None or refused[0] == "unsupported"
        assert unknown[0] == "RangeError" and "simd128 and relaxed" in unknown[1]


def test_every_variant_that_runs_gives_the_same_scores(web_bundle: Bundle) -> None:
    script = """
      (await import('node:v8')).setFlagsFromString('--experimental-wasm-relaxed-simd'); // Node 20 asks for it
      const run = async (variant) => {
        const model = await library.load(folder, { variant }), rgb = new Uint8Array(8 * 8 * 3).fill(200);
        return [model.variant, Array.from(model.logits(rgb)), (await model.verify()).mismatches];
      };
      const wanted = await run('simd128');
      try { return [wanted, await run('relaxed'), await run()]; }
      catch (error) { return [wanted, error.code, await run()]; }
    """
    plain, relaxed, fastest = run_in_node(web_bundle.path, script)
    assert plain[0] == "simd128" and plain[2] == 0
    assert fastest == (plain if relaxed == "unsupported" else relaxed)
    assert fastest[1:] == plain[1:]


DAMAGE = {
    "model.wasm cut off": ("model.wasm", lambda data: data[:-100], "download", "cut off"),
    "model.wasm one bit": ("model.wasm", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "integrity", "digest differs"),
    "model.wasm too long": ("model.wasm", lambda data: data + b"\0", "integrity", "longer than"),
    "labels one byte": ("labels.txt", lambda data: b"C" + data[1:], "integrity", "digest differs"),
    "manifest no JSON": ("manifest.json", lambda data: data[:-9], "integrity", "no JSON"),
    "another target":
        ("manifest.json", lambda data: data.replace(b'"name": "web"', b'"name": "arm"'), "integrity", "--target web"),
    "another interface":
        ("manifest.json", lambda data: data.replace(b'"abi": 2', b'"abi": 1'), "integrity", "interface"),
    "no bundle": ("manifest.json", lambda data: b"[]", "integrity", "no bundle"),
    "a size below 0":
        ("manifest.json", lambda data: re.sub(rb'"size": \d+', b'"size": -1', data), "integrity", "no size"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_bundles_are_refused_before_anything_runs(web_bundle: Bundle, tmp_path: Path, name: str) -> None:
    file, change, code, said = DAMAGE[name]
    content = (web_bundle.path / file).read_bytes()
    given = change(content)
    assert given != content
    folder = changed(web_bundle, tmp_path / "b", file, given)
    script = """
      let compiled = 0;
      const compile = WebAssembly.compile;
      WebAssembly.compile = (bytes) => { compiled++; return compile(bytes); };
      return [await refused(() => library.load(args[0])), compiled];"""
    (found, sentence), compiled = run_in_node(web_bundle.path, script, str(folder))
    assert (found, compiled) == (code, 0)
    assert said in sentence


def test_what_is_no_module_of_ours_is_not_run(web_bundle: Bundle, tmp_path: Path) -> None:
    asking = bytes.fromhex("0061736d01000000 010401600000 02070101610162 0000")  # for a function a.b
    broken = asking[:-4]
    for number, (content, said) in enumerate([(asking, "more than memory"), (broken, "no WebAssembly")]):
        folder = changed(web_bundle, tmp_path / str(number), "model.wasm", content, sealed=True)
        code, sentence = run_in_node(web_bundle.path, "return refused(() => library.load(args[0]));", str(folder))
        assert code == "integrity" and said in sentence


SERVER = """
  const http = await import('node:http'), fs = await import('node:fs');
  const server = http.createServer((request, response) => {
    const name = new URL(request.url, 'http://x').pathname.slice(1), bytes = fs.readFileSync(folder + '/' + name);
    if (name !== 'model.wasm') return response.end(bytes);
    if (args[0] === '404') return response.writeHead(404).end();
    response.writeHead(200, { 'content-length': bytes.length });
    response.write(bytes.subarray(0, 1000));
    if (args[0] === 'break') setTimeout(() => response.destroy(), 20);
    if (args[0] === 'fine') response.end(bytes.subarray(1000));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const place = 'http://127.0.0.1:' + server.address().port + '/', timer = setTimeout;
  let latest, seen = 0;
  globalThis.setTimeout = (work, ms) => timer(ms >= 30000 ? (latest = work) : work, ms);
  const stop = new AbortController();
  if (args[0] === 'abort') timer(() => stop.abort(), 100);
  const onProgress = ({ loaded }) => {
    if (args[0] === 'stall' && seen < 1000 && loaded >= 1000) timer(latest, 0); // half a minute goes by at once
    seen = loaded;
  };
  const found = await refused(async () => library.load(place, { signal: stop.signal, onProgress }));
  server.closeAllConnections?.(); server.close();
  return [found, seen];
"""


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("404", "download", "the server answered 404"),
        ("break", "download", "broke off after 1000 bytes"),
        ("stall", "download", "sent nothing for 30 s, after 1000 bytes"),
        ("abort", 20, "abort"),
    ],
)
def test_a_network_that_breaks_is_named_and_nothing_hangs(web_bundle: Bundle, fault: str, code: Any, said: str) -> None:
    (found, sentence), _ = run_in_node(web_bundle.path, SERVER, fault)
    assert found == code
    assert said in sentence


def test_a_download_tells_how_far_it_is(web_bundle: Bundle) -> None:
    files = web_bundle.manifest["files"]
    total = files["model.wasm"]["size"] + files["labels.txt"]["size"]
    assert run_in_node(web_bundle.path, SERVER, "fine") == [None, total]


IMAGES = {
    "a text": ("new TextEncoder().encode('no picture')", "no picture"),
    "nothing": ("null", "null is no picture"),
    "a word": ("'cat.jpg'", "string is no picture"),
    "100 megapixels": ("{ data: new Uint8Array(3), width: 10000, height: 10000 }", "more than the 89478485 allowed"),
    "too few bytes": ("{ data: new Uint8Array(5), width: 2, height: 1 }", "5 bytes"),
    "no sides": ("{ data: new Uint8Array(0), width: 0, height: 0 }", "0 x 0"),
    "floats": ("{ data: new Float32Array(3), width: 1, height: 1 }", "Uint8Array"),
    "an array": ("{ data: [1, 2, 3], width: 1, height: 1 }", "no picture that can be used here"),
    "too thin": ("{ data: new Uint8Array(6000000), width: 2000000, height: 1 }", "too long and thin"),
    "a cut JPEG": (f"new Uint8Array({list(FILES['jpeg'][:300])})", "no picture"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_no_image_gets_a_sentence(web_bundle: Bundle, name: str) -> None:
    value, said = IMAGES[name]
    code, sentence = run_in_node(web_bundle.path, f"{LOAD} return refused(() => model.predict({value}));")
    assert code == "image"
    assert said in sentence


def test_a_small_file_of_100_megapixels_is_refused_before_it_is_decoded(web_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(black_png(1, 0, 10_000, 10_000))
    read = "const bytes = new Uint8Array((await import('node:fs')).readFileSync(args[0]));"
    code, sentence = run_in_node(
        web_bundle.path, f"{LOAD} {read} return refused(() => model.predict(bytes));", str(file)
    )
    assert code == "image"
    assert "10000 x 10000" in sentence


def test_without_simd_there_is_a_sentence(web_bundle: Bundle) -> None:
    script = "WebAssembly.validate = () => false; return refused(() => library.load(folder));"
    code, sentence = run_in_node(web_bundle.path, script)
    assert code == "unsupported" and "SIMD" in sentence


def test_an_abort_stops_verify_and_bench(web_bundle: Bundle) -> None:
    script = f"""{LOAD}
      const stopped = (work) => {{
        const stop = new AbortController();
        return refused(() => work({{ signal: stop.signal, onProgress: () => stop.abort() }}));
      }};
      return [await stopped((it) => model.verify(it)), await stopped((it) => model.bench(it)),
              await refused(() => library.load(folder, {{ signal: AbortSignal.abort() }}))];"""
    assert [code for code, _ in run_in_node(web_bundle.path, script)] == [20, 20, 20]  # DOMException.ABORT_ERR


def test_a_coarse_clock_is_outrun_by_measuring_several_at_once(web_bundle: Bundle) -> None:
    script = """
      const { bench } = await import('file://' + folder + '/bench.js');
      let now = 0; // one call takes 0.3 ms, and the clock says whole milliseconds
      performance.now = () => Math.floor(now += 0.001);
      return bench(() => { now += 0.3; }, { runs: 20, warmup: 0 });"""
    found = run_in_node(web_bundle.path, script)
    assert found["batch"] * 0.3 >= 19 and found["clock_ms"] == 1
    assert found["median_ms"] == pytest.approx(0.3, rel=0.05)
    assert found["min_ms"] <= found["median_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_without_a_secure_context_digests_are_the_same(web_bundle: Bundle) -> None:
    sizes = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]
    script = """
      const { sha256Slowly } = await import('file://' + folder + '/digest.js');
      return JSON.parse(args[0]).map((size) => sha256Slowly(Uint8Array.from({ length: size }, (_, i) => i * 7)));"""
    expected = [hashlib.sha256(bytes(i * 7 % 256 for i in range(size))).hexdigest() for size in sizes]
    assert run_in_node(web_bundle.path, script, json.dumps(sizes)) == expected


def test_the_package_is_whole_and_needs_nothing(web_bundle: Bundle, tmp_path: Path) -> None:
    package = json.loads((web_bundle.path / "package.json").read_text())
    assert package["version"] == __version__
    assert not {"dependencies", "peerDependencies", "optionalDependencies", "scripts"} & set(package)
    for script in web_bundle.path.glob("*.*js"):
        for name in re.findall(r"""(?:from|import\()\s*'(\./[^']+)'""", script.read_text()):
            assert name.removeprefix("./") in WASM.beside
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm")
    done = subprocess.run(
        [npm, "pack", "--dry-run", "--json", "--offline", f"--cache={tmp_path}"],
        cwd=web_bundle.path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "warn" not in done.stderr.lower()
    (packed,) = json.loads(done.stdout)
    assert {it["path"] for it in packed["files"]} == {path.name for path in web_bundle.path.iterdir()}
