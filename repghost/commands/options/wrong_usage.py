"""What a wrong command line is told: what is allowed where something is missing, and numbers in words."""

from __future__ import annotations

import re

import click

A_NETWORK = (
    "a checkpoint, an ONNX file, 'bundled', 'timm' with --width, or timm:NAME or torchvision:NAME with --weights."
)
A_BUNDLE = "the folder of a bundle, e.g. build/NETWORK/arm64/int8; 'repghost compile' writes one."
A_DETECTOR = "the detector.safetensors that 'repghost detect-train' wrote."
# Arguments that are required, by what --help calls them or by their names; options have their help.
ARGUMENTS = {
    "network": "a checkpoint, an ONNX or QDQ file, a bundle, 'bundled', or timm:NAME with --weights.",
    "networks": A_NETWORK,
    "checkpoint": A_NETWORK,
    "source": "a checkpoint, 'bundled', or 'timm' with --width.",
    "FILE|BUNDLE": "a checkpoint, a QDQ file or the folder of a bundle.",
    "address": "where on the Hugging Face hub, e.g. hf://me/flowers.",
    "bundle": A_BUNDLE,
    "bundles": A_BUNDLE,
    "board": "[USER@]HOST as ssh takes it, e.g. pi@192.168.1.20.",
    "MODEL.onnx": "a Q/DQ ONNX file, e.g. of 'repghost quantize'.",
    "file": "a bundle, an ONNX file, or timm:NAME or torchvision:NAME.",
    "detector": A_DETECTOR,
    "detectors": A_DETECTOR,
    "reports": "folders of runs, or JSON files of 'repghost bench --on BOARD --json FILE'.",
    "images": "pictures: JPEG, PNG or any other file that Pillow reads.",
}


def missing(error: click.MissingParameter) -> click.UsageError:
    """Return the error with what may be given."""
    parameter, context = error.param, error.ctx
    if parameter is None or context is None:
        return error
    if isinstance(parameter, click.Option):
        kind, allowed = "option", parameter.help or ""
    else:
        called = (parameter.metavar or "", parameter.name or "")
        kind, allowed = "argument", next((ARGUMENTS[name] for name in called if name in ARGUMENTS), "")
    what = f"Missing {kind} {parameter.get_error_hint(context)}"
    return click.UsageError(f"{what}: {_small(allowed)}" if allowed else f"{what}.", context)


# What click says of numbers -> what we say.
_NUMBERS = (
    (re.compile(r"is not in the range x>=(\S+)\.$"), r"is not in the range: \1 or more."),
    (re.compile(r"is not in the range x<=(\S+)\.$"), r"is not in the range: at most \1."),
    (re.compile(r"is not in the range ([^<\s]+)<=x<=(\S+)\.$"), r"is not in the range \1 to \2."),
    (re.compile(r"is not a valid integer(?: range)?\.$"), "is no whole number."),
    (re.compile(r"is not a valid float(?: range)?\.$"), "is no number."),
)


def in_words(message: str) -> str:
    """Return what click says of a number as a sentence without formulas."""
    for pattern, words in _NUMBERS:
        message = pattern.sub(words, message)
    return message


def _small(text: str) -> str:
    """Return a sentence for behind a colon: without its capital, unless it begins with a name."""
    return text[0].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
