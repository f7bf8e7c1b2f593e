"""docs/api.md, made from the docstrings of the library's public names."""

from __future__ import annotations

import inspect
import re
from typing import Any

import repghost
from benchmarks.shared.surface import WIDE, field_lines, first_of, members, signature

HEAD = """# The library

Everything below is public: `import repghost` and use it. Names, arguments and defaults change only with a version and
a line in CHANGELOG.md; everything else may change at any time. `python -m benchmarks.api` writes this page from the
docstrings.

```python
{snippet}
```

A network may be a torch module (in any mode, on any device; it stays as it is), a checkpoint or an ONNX file, or a name
such as `"timm:mobilenetv3_large_100"`. Images may be a split of `repghost.open_dataset`, a folder, paths, PIL images,
numpy arrays `[N, H, W, C]` or `[H, W, C]`, torch tensors `[N, C, H, W]`, lists of them, `(images, labels)`, a
DataLoader, or a dataset of torchvision or timm. Arrays of the network's own size are taken as prepared, all others are
resized and cropped as its `Preprocess` says, but for normalized ones, which are refused: they were prepared for another
size. Of floats whose range could be several, `pixels=` says which it is. Labels are numbers of the network's classes;
where a loader's dataset names its `classes`, and a network its own, they are matched by name.
Preprocessing travels with the network: `create_model` leaves it in the module, timm's is read from `pretrained_cfg`,
and `preprocess=` gives it where nothing says it, e.g. `preprocess=weights.transforms()` of torchvision.

Two notebooks go the whole way: [own pictures to a board](own-pictures.ipynb), and [training under quantization in your
own loop](qat-own-loop.ipynb).

What a caller can cause is an exception of `repghost.errors` with one sentence. Nothing is printed; `progress=` and
`say=` follow a call, and Ctrl-C ends it with nothing half-written.
"""
SNIPPET = """import repghost, timm

data = repghost.open_dataset("pictures")  # data.train, data.calibration, data.test
net = timm.create_model("mobilenetv3_large_100", pretrained=True).eval()
repghost.evaluate(net, data.test)  # top-1, top-5, interval, per class, confusion, mistakes
q = repghost.quantize(net, data.calibration)
q.compare(net, data.test)  # paired change with its interval
q.sensitivity(data.calibration)
q.save("net.qdq.onnx")
p = repghost.prepare_qat(q)  # an nn.Module, to train in your own loop
q = repghost.convert(p)
q = repghost.train_quantized(q, data.train, epochs=4)  # or let it train
bundle = repghost.compile(q, target="arm64", data=data)
bundle.verify()
bundle.bench(on="pi@board")
model = repghost.load("build/NET")  # this machine's bundle
model("cat.jpg")"""
GROUPS = (
    ("Images", ("open_dataset", "Dataset", "Preprocess")),
    ("Networks", ("create_model", "list_models", "RepGhostNet", "load_model", "read_checkpoint", "fuse", "export",
                  "Exported", "flops", "Counts")),
    ("Training", ("train", "RecipeValues", "Trained")),
    ("Accuracy", ("evaluate", "compare", "Evaluation", "Comparison", "validate", "Validated", "validate_widths",
                  "ValidatedWidths")),
    ("Predictions", ("predict", "Predictions")),
    ("Quantization", ("quantize", "QuantizedNetwork", "LayerSensitivities", "QuantConfig", "LayerSettings", "accuracy",
                      "AccuracyEvidence")),
    ("Training under quantization", ("prepare_qat", "QatModule", "convert", "train_quantized")),
    ("Bundles", ("compile", "CompiledBundle", "load", "Model", "verify", "Verification", "sign", "bench", "Benchmark",
                 "report", "Report", "explain", "Explanation", "lint", "Lint", "pack", "PackedImage", "demo", "Demo")),
    ("Boards", ("deploy", "Deployment", "status", "Inventory", "rollback", "Rollback", "doctor", "Diagnosis",
                "advise", "BoardAdvice", "submit", "Submitted")),
    ("The Hugging Face hub", ("push", "Pushed", "pull", "Pulled")),
    ("Detectors", ("train_detector", "TrainedDetector", "evaluate_detector", "DetectorEvaluation", "export_detector",
                   "ExportedDetector")),
)  # fmt: skip
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \w+)*): ?(.*)$")
TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Returns": "Returns", "Raises": "Raises", "Yields": "Yields"}


def render_api() -> str:
    """Return the page."""
    known = set(repghost.__all__) - {"__version__"}
    parts = [HEAD.format(snippet=SNIPPET)]
    grouped = {name for _, names in GROUPS for name in names}
    for title, names in (*GROUPS, ("Further names", tuple(sorted(known - grouped)))):
        shown = [name for name in names if name in known]
        if shown:
            parts += [f"## {title}\n", *(_entry(name, getattr(repghost, name)) for name in shown)]
    return "\n".join(parts).rstrip() + "\n"


def _entry(name: str, value: Any) -> str:
    """Return the section of a function or a class."""
    if not isinstance(value, type):
        return f"### {name}\n\n```python\n{signature(f'repghost.{name}', value, WIDE)}\n```\n\n{_docstring(value)}"
    fields = field_lines(value)
    code = "\n".join([f"class repghost.{name}", *(f"    {line}" for line in fields)])
    lines = [f"### {name}\n\n```python\n{code}\n```\n\n{_docstring(value)}"]
    for member in members(value):
        function = getattr(member[1], "fget", None) or getattr(member[1], "func", None) or member[1]
        summary = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
        lines.append(f"- `{first_of(member)}`: {summary}")
    return "\n".join(lines) + "\n"


def _docstring(value: Any) -> str:
    """Return a docstring of Google's form as Markdown."""
    text = inspect.cleandoc(value.__doc__ or "")
    head, *rest = SECTION.split(text)
    lines = [head.strip(), ""]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        lines += [f"{TITLES[title]}:", "", *_entries(inspect.cleandoc(body.strip("\n"))), ""]
    return "\n".join(lines)


def _entries(body: str) -> list[str]:
    """Return a bullet for each entry of a section; what is no entry stays a paragraph."""
    lines: list[str] = []
    for line in body.split("\n"):
        found = ENTRY.match(line)
        if found:
            lines.append(f"- `{found[1]}`: {found[2]}".rstrip())
        elif line.startswith(" ") and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return lines
