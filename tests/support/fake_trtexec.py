"""A stand-in for NVIDIA's trtexec: the forms of its output by version, and what it says when something fails.

It is told by TRTEXEC_VERSION which TensorRT it plays, and by TRTEXEC_FAULT what goes wrong. It builds nothing: an
engine is a file that says which version wrote it, and answers are those that the bundle expects.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

VERSION = os.environ["TRTEXEC_VERSION"]
FAULT = os.environ.get("TRTEXEC_FAULT", "")
NUMBERS = [int(part) for part in VERSION.split(".")]
MAJOR = NUMBERS[0]

COMMON = {
    "--help", "--onnx", "--saveEngine", "--loadEngine", "--loadInputs", "--exportOutput", "--exportLayerInfo",
    "--timingCacheFile", "--profilingVerbosity", "--iterations", "--warmUp", "--duration", "--percentile",
    "--useCudaGraph", "--useSpinWait", "--noDataTransfers", "--memPoolSize", "--useDLACore", "--allowGPUFallback",
}  # fmt: skip
WEAK = {"--int8", "--fp16", "--best", "--calib"}
FLAGS = {
    8: COMMON | WEAK,
    10: COMMON | WEAK | {"--stronglyTyped"},
    11: (COMMON - {"--useSpinWait", "--noDataTransfers"}) | {"--stronglyTyped", "--includeDataTransfers"},
}[MAJOR]


def banner(word: str) -> str:
    width = 1000 if MAJOR < 10 else 10000
    number = NUMBERS[0] * width + NUMBERS[1] * 100 + NUMBERS[2]
    build = " [b48]" if MAJOR >= 10 else ""
    return f"&&&& {word} TensorRT.trtexec [TensorRT v{number}]{build} # {' '.join(sys.argv)}"


def end(*reasons: str) -> None:
    for reason in reasons:
        print(f"[11/20/2025-08:32:52] [E] {reason}")
    print(banner("FAILED" if reasons else "PASSED"))
    sys.exit(1 if reasons else 0)


def int8_form(name: str, int8: bool) -> dict[str, object]:
    """Return a layer of the engine as the version lists it."""
    if MAJOR == 8:
        form = "Thirty-two wide channel vectorized row major Int8 format" if int8 else "Row major linear FP16 format"
        return {
            "Name": f"{name}.weight + {name}.weight.quantize + {name} + {name}.relu"
            if int8
            else f"{name} + {name}.relu",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [1, 3, 8, 8], "Format/Datatype": form}],
            "Outputs": [{"Name": name, "Format/Datatype": form}],
            "ParameterType": "Convolution",
            "Kernel": [1, 1],
            "Weights": {"Type": "Int8" if int8 else "Half", "Count": 24},
            "Bias": {"Type": "Float", "Count": 8},
        }
    kind = "Int8" if int8 else "Half"
    return {
        "Name": f"__myl_Conv{name.count('.')}_myl0_{len(name)}",
        "LayerType": "fusion",
        "Inputs": [{"Name": "__mln_x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": kind}],
        "Outputs": [{"Name": "y", "Dimensions": [1, 8, 8, 8], "Format/Datatype": "Half"}],
        "TacticName": "sm80_xmma_fprop",
        "Metadata": f"[ONNX Layer: {name}.weight.quantize]\x1e[ONNX Layer: {name}]\x1f[ONNX Layer: {name}.relu]",
    }


def layer_info(int8: bool) -> str:
    promise = [line.split() for line in Path("promise.txt").read_text().splitlines()]
    layers: list[object] = [
        # Both name a layer that is int8, and are none.
        {
            "Name": f"Reformatting CopyNode for Input Tensor 0 to {promise[1][0]}",
            "LayerType": "Reformat",
            "Inputs": [{"Name": "input", "Format/Datatype": "Row major linear FP32"}],
            "Outputs": [{"Name": "copied", "Format/Datatype": "Int8"}],
        },
        {
            "Name": f"quantize {promise[1][0]}.quantize",
            "LayerType": "kgen",
            "Inputs": [{"Name": "input", "Format/Datatype": "Int8"}],
            "Outputs": [],
        },
    ]
    for name, kind in promise:
        if f"absent {name}" == FAULT:
            continue
        if MAJOR >= 10:  # what is element-wise around a convolution names it too
            around = {"Name": f"__myl_MulMinMaxRounCast_{len(layers)}", "LayerType": "kgen", "Outputs": []}
            for kind_before in ("Int8", "Float"):
                metadata = f"[ONNX Layer: {name}.quantize][ONNX Layer: {name}]"
                inputs = [{"Name": "z", "Format/Datatype": kind_before}]
                layers.append({**around, "Inputs": inputs, "Metadata": metadata})
        layers.append(int8_form(name, int8 and kind == "int8" and f"float {name}" != FAULT))
    if FAULT == "names":
        layers = [name for name, _ in promise]
    if MAJOR == 8:
        return json.dumps({"Layers": layers, "Bindings": ["input", "logits"]}, indent=2)
    return json.dumps({"Layers": layers, "Bindings": ["input", "logits"]})


def build(options: dict[str, str]) -> None:
    content = Path(options["--onnx"]).read_bytes()
    quantized = b"QuantizeLinear" in content
    if FAULT == "parse":
        end(
            "[TRT] ModelImporter.cpp:726: While parsing node number 0 [Conv -> \"stem\"]:",
            "Failed to parse onnx file", "Parsing model failed", "Failed to create engine from model or file.",
            "Engine set up failed",
        )  # fmt: skip
    if FAULT == "implementation":
        end(
            "Error[10]: [optimizer.cpp::computeCosts::3869] Error Code 10: Internal Error (Could not find any "
            "implementation for node stem.)",
            "Engine could not be created from network", "Building engine failed", "Engine set up failed",
        )  # fmt: skip
    if FAULT == "killed":
        os.kill(os.getpid(), 9)
    if "--int8" in options and not quantized and "--calib" not in options:
        print("[W] Calibrator is not being used. Users must provide dynamic range for all tensors")
    if FAULT != "nothing written":
        kind = "int8" if quantized else "fp16"
        Path(options["--saveEngine"]).write_text(f"{VERSION} {kind} {' '.join(sys.argv[1:])}\n")
        Path(options["--exportLayerInfo"]).write_text(layer_info(quantized))
    print(f"[I] TensorRT version: {VERSION}\n[I] Engine built in 12.1 sec.")


def load(options: dict[str, str]) -> str:
    version, kind, *_ = Path(options["--loadEngine"]).read_text().split()
    if version != VERSION:
        end(
            "Error[1]: [stdArchiveReader.cpp::StdArchiveReader::32] Error Code 1: Serialization (Version tag does not "
            "match)",
            "Engine deserialization failed", "Got invalid engine!", "Inference set up failed",
        )  # fmt: skip
    return kind


def answer(options: dict[str, str], kind: str) -> None:
    name, _, path = options["--loadInputs"].partition(":")
    content = Path(path).read_bytes()
    samples = sorted(Path().glob("sample-*.bin"), key=lambda sample: int(sample.stem.partition("-")[2]))
    index = next(place for place, sample in enumerate(samples) if sample.read_bytes() == content)
    values = [float(word) for word in Path(f"expected-{kind}.txt").read_text().splitlines()[index].split()]
    tolerance = next(
        float(line.split('"')[1])
        for line in Path("settings.sh").read_text().splitlines()
        if line.startswith(f"{kind.upper()}_TOLERANCE")
    )
    moved = {"wrong answer": 1.5, "": 0.9}.get(FAULT, 0.9) * tolerance
    values[index % len(values)] += 0 if FAULT == "exact" else moved
    texts = [f"{value:.6g}" for value in values]
    if FAULT == "nan":
        texts[0] = "-nan"
    if FAULT == "all nan":
        texts = ["nan"] * len(texts)
    if FAULT == "short":
        texts.pop()
    assert name == "input" and len(Path(path).read_bytes()) % 12 == 0
    if MAJOR == 11 and "--includeDataTransfers" not in options:
        texts = ["0"] * len(texts)
    if Path("results.txt").exists():
        write_results(options["--exportOutput"], texts)
        return
    body = f'"name" : "logits"\n  , "dimensions" : "1x{len(texts)}"\n  , "values" : [ {", ".join(texts)} ]\n  '
    Path(options["--exportOutput"]).write_text(f"[\n  {{ {body}}}\n]\n")


def write_results(path: str, texts: list[str]) -> None:
    """Write several results, the last one first, as TensorRT promises no order."""
    entries, start = [], 0
    for line in Path("results.txt").read_text().splitlines():
        name, count = line.split()[0], int(line.split()[1])
        values = ", ".join(texts[start : start + count])
        entries.append(f'{{ "name" : "{name}"\n  , "dimensions" : "1x{count}"\n  , "values" : [ {values} ]\n  }}')
        start += count
    if FAULT == "absent result":
        entries.pop()
    Path(path).write_text("[\n  " + "\n, ".join(reversed(entries)) + "\n]\n")


def summary(kind: str) -> None:
    median = {"int8": 0.4105, "fp16": 0.532}[kind]
    if FAULT == "no summary":
        return
    print("[I] === Performance summary ===")
    print("[I] Throughput: 2011.25 qps")
    for name, factor in (("Latency", 1.0), ("Enqueue Time", 0.1), ("GPU Compute Time", 1.0)):
        figures = [("min", 0.95), ("max", 2.0), ("mean", 1.02), ("median", 1.0), ("percentile(90%)", 1.1)]
        figures.append(("percentile(99%)", 1.3))
        print(f"[I] {name}: " + ", ".join(f"{key} = {factor * median * times:.6g} ms" for key, times in figures))
    print("[I] Total GPU Compute Time: 9.9 s")


def main() -> None:
    print(banner("RUNNING"))
    options = {key: value for key, _, value in (word.partition("=") for word in sys.argv[1:])}
    if "--help" in options:
        print("\n".join(f"  {flag}=<value>   an option" for flag in sorted(FLAGS)))
        sys.exit(0)
    unknown = [f"Unknown option: {option} {options[option]}" for option in options if option not in FLAGS]
    if unknown:
        end(*unknown)
    if "--onnx" in options:
        build(options)
        kind = "int8"
    else:
        kind = load(options)
    if "--exportOutput" in options:
        answer(options, kind)
    summary(kind)
    end()


main()
