"""Checks of a linked model.so and repghost-run, by reading their ELF headers, symbols and versions."""

from __future__ import annotations

from compile.link.elf import MACHINE_NAMES, ElfFile, read_elf
from compile.targets.table import Target
from repghost.errors import UsageError

API = (
    "rg_abi", "rg_infer", "rg_infer_parallel", "rg_info", "rg_prepare", "rg_prepare_bytes", "rg_select", "rg_variant",
    "rg_workspace_bytes",
)  # fmt: skip
PROFILING_API = ("rg_run_step", "rg_steps")  # besides, in a build whose steps can be timed one by one
MAY_BE_ABSENT = {"getauxval"}  # weak: model.so then runs its plainest variant
SMALLEST_PAGE = 16 * 1024  # bytes; Android and Apple kernels use 16 KB pages


def _check_common(elf: ElfFile, target: Target, name: str) -> None:
    if elf.machine != target.elf_machine:
        found = MACHINE_NAMES.get(elf.machine, str(elf.machine))
        raise UsageError(f"{name} is for the machine {found}, but the target {target.name} was asked for.")
    small = [alignment for alignment in elf.alignments if alignment % SMALLEST_PAGE]
    if small or not elf.alignments:
        raise UsageError(f"{name} has segments aligned to {small} bytes; kernels with 16 KB pages cannot load it.")
    if elf.executable_stack or elf.writable_code:
        raise UsageError(f"{name} asks for an executable stack or writable code; hardened kernels refuse that.")


def check_model(data: bytes, target: Target, exports: tuple[str, ...] = API) -> ElfFile:
    """Check what model.so promises: machine, no libraries, exactly the rg_* functions, nothing that runs while loading.

    Args:
        data: the file.
        target: what it was made for.
        exports: what it must export, in order.

    Raises:
        UsageError: naming the promise that is broken.
    """
    elf = read_elf(data)
    _check_common(elf, target, "model.so")
    if elf.needed:
        raise UsageError(f"model.so needs the libraries {', '.join(elf.needed)}; it must need none.")
    foreign = [*elf.undefined, *(name for name in elf.undefined_weak if name not in MAY_BE_ABSENT)]
    if foreign:
        raise UsageError(f"model.so calls functions it does not hold: {', '.join(foreign)}.")
    if elf.exported != exports:
        found, wanted = ", ".join(elf.exported) or "nothing", ", ".join(exports)
        raise UsageError(f"model.so exports {found}; it must export {wanted}.")
    if elf.initializers:
        raise UsageError("model.so runs code while it is loaded; it must not.")
    return elf


def check_runner(data: bytes, target: Target) -> ElfFile:
    """Check that repghost-run is for the target, and starts on the oldest glibc of its row or, static, on every kernel.

    Raises:
        UsageError: naming the promise that is broken.
    """
    elf = read_elf(data)
    _check_common(elf, target, "repghost-run")
    if target.runner_triple and (elf.needed or elf.interpreter):
        needed = ", ".join(elf.needed) or "a loader"
        raise UsageError(f"repghost-run for {target.name} has to be static, but it needs {needed} of the system.")
    if elf.newest_glibc > target.oldest_glibc:
        versions = (elf.newest_glibc, target.oldest_glibc)
        newest, oldest = (".".join(str(part) for part in version) for version in versions)
        raise UsageError(f"repghost-run needs glibc {newest}; older boards have {oldest}.")
    return elf
