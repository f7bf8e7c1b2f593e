"""Linking and checking a network's program in the form its target has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compile.ir.compiled_network import CompiledNetwork
from compile.link import image_decoders, macho, promises, toolchain, wasm
from compile.targets.forms import ELF, MACHO, WASM, Form
from compile.targets.table import Target

WEB_SOURCES = Path(__file__).parent.parent / "web/library"


@dataclass(frozen=True)
class _Linking:
    """How programs of one form are made and checked."""

    link: Callable[[CompiledNetwork, Target, dict[str, Any]], bytes]
    check: Callable[[bytes, Target], object]  # of code and weights
    check_runner: Callable[[bytes, Target], object]
    build_runner: Callable[[Target], bytes] | None  # None: it is a file of ours
    folder: Path  # of the files beside it, and of a runner that is not compiled


_FORMS = {
    ELF: _Linking(
        toolchain.link_model,
        promises.check_model,
        promises.check_runner,
        toolchain.build_runner,
        toolchain.RUNNER_SOURCES,
    ),
    MACHO: _Linking(
        macho.link_library, macho.check_library, macho.check_runner, macho.build_runner, toolchain.RUNNER_SOURCES
    ),
    WASM: _Linking(wasm.link_module, wasm.check_module, wasm.check_runner, None, WEB_SOURCES),
}


def link_model(network: CompiledNetwork, target: Target, info: dict[str, Any]) -> bytes:
    """Return code and weights of a network as one program; arguments as `compile.link.toolchain.link_model` takes."""
    return _FORMS[target.form].link(network, target, info)


def link_models(network: CompiledNetwork, target: Target, info: dict[str, Any]) -> dict[str, bytes]:
    """Return the files that hold code and weights, by name; where a variant has one of its own, it stands alone there.

    Args:
        network: what the compiler made.
        target: what it was made for.
        info: the object `rg_info` returns; of a file it names the variants that are in it.
    """
    form, files = target.form, {}
    for name in form.models:
        variants = tuple(it for it in network.variants if form.model_of(it.name) == name)
        if variants:
            blobs = {it.weights: network.blobs[it.weights] for it in variants}
            part = replace(network, variants=variants, blobs=blobs)
            files[name] = link_model(part, target, {**info, "variants": [it.name for it in variants]})
    return files


def check_programs(models: Iterable[bytes], runner: bytes, target: Target) -> None:
    """Check what the programs of a bundle promise.

    Raises:
        UsageError: naming the promise that is broken.
    """
    form = _FORMS[target.form]
    for model in models:
        form.check(model, target)
    form.check_runner(runner, target)


def make_runner(target: Target) -> bytes:
    """Return the runner of a target: compiled, or a file of ours that another program starts."""
    form = _FORMS[target.form]
    return form.build_runner(target) if form.build_runner else (form.folder / target.form.runner).read_bytes()


def check_runner(runner: bytes, target: Target) -> None:
    """Check what a runner promises.

    Raises:
        UsageError: naming the promise that is broken.
    """
    _FORMS[target.form].check_runner(runner, target)


def read_beside(form: Form) -> dict[str, bytes]:
    """Return the content of the files that lie beside a program, by name."""
    made = {"images.wasm": image_decoders.decoders}
    folder = _FORMS[form].folder
    return {name: made[name]() if name in made else (folder / name).read_bytes() for name in form.beside}
