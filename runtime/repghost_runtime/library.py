"""model.so in this process: the functions of repghost.h, called with ctypes."""

from __future__ import annotations

import ctypes
import json
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

from repghost_runtime.bundle import Bundle
from repghost_runtime.errors import IntegrityError, RepGhostError, UnsupportedError, UsageError

ABI = 2  # RG_ABI of repghost.h
ABI_RESULTS = 3  # RG_ABI_RESULTS: of a network with several results
DONE, UNSUPPORTED_CPU, WRONG_PICTURE, NOT_PREPARED = 0, 3, 8, 9  # enum rg_status
MACHINES = {3: "x86", 40: "32-bit ARM", 62: "x86-64", 183: "64-bit ARM", 243: "RISC-V"}  # e_machine of ELF


class Picture(ctypes.Structure):
    """struct rg_picture."""

    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("chroma", ctypes.c_void_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("stride", ctypes.c_ssize_t),
        ("chroma_stride", ctypes.c_ssize_t),
    )


class Library:
    """A loaded model.so; its functions may be called from any thread, each with memory of its own."""

    def __init__(self, bundle: Bundle, variant: str | None = None) -> None:
        """Load the library whose bytes were checked, and choose an instruction set; None: the best of this core.

        Raises:
            UsageError: when there is no such instruction set.
            UnsupportedError: when this machine cannot load or run it.
            IntegrityError: when it is not what the manifest says.
        """
        _check_machine(bundle)
        try:
            self._functions = _load(bundle.library, self)
            _declare(self._functions)
        except (OSError, AttributeError) as error:
            raise UnsupportedError(f"{bundle.path}: model.so cannot be loaded: {error}") from error
        wanted = ABI_RESULTS if bundle.outputs else ABI
        if self._functions.rg_abi() != wanted:
            raise IntegrityError(
                f"{bundle.path} has version {self._functions.rg_abi()} of the C interface, not {wanted}. "
                "Install the repghost-runtime that belongs to it, or build the bundle again."
            )
        _check_info(bundle, self._functions.rg_info())
        self.workspace_bytes = int(self._functions.rg_workspace_bytes())
        status = self._functions.rg_select(variant.encode("ascii", "replace") if variant else None)
        names = _variants(bundle)
        if status == UNSUPPORTED_CPU:
            raise UnsupportedError(f"this core cannot run {variant or 'the bundle'}, which has code for: {names}.")
        if status:
            raise UsageError(f"there is no instruction set {variant!r}; the bundle has {names}.")

    @property
    def variant(self) -> str:
        """The instruction set in use."""
        return str(self._functions.rg_variant().decode("ascii", "replace"))

    def prepare_bytes(self, picture: Picture) -> int:
        """Return how much scratch memory preparing takes; 0 where the picture would be refused."""
        return int(self._functions.rg_prepare_bytes(ctypes.byref(picture)))

    def prepare(self, picture: Picture, image: int, scratch: int) -> int:
        """Make the network's input of a picture, at the address `image`; returns an rg_status."""
        return int(self._functions.rg_prepare(ctypes.byref(picture), image, scratch))

    def infer(self, image: int, logits: int, workspace: int) -> None:
        """Run one inference on memory at three addresses."""
        status = self._functions.rg_infer(image, logits, workspace)
        if status:
            raise RepGhostError(f"the inference failed with status {status} (rg_status in repghost.h).")


def _variants(bundle: Bundle) -> str:
    names = bundle.manifest.get("variants")
    return ", ".join(str(name) for name in names) if isinstance(names, list) else "what its manifest does not say"


def _declare(functions: ctypes.CDLL) -> None:
    address = ctypes.c_void_p
    for name, result, arguments in (
        ("rg_abi", ctypes.c_int, []),
        ("rg_info", ctypes.c_char_p, []),
        ("rg_workspace_bytes", ctypes.c_size_t, []),
        ("rg_prepare_bytes", ctypes.c_size_t, [ctypes.POINTER(Picture)]),
        ("rg_prepare", ctypes.c_int, [ctypes.POINTER(Picture), address, address]),
        ("rg_infer", ctypes.c_int, [address, address, address]),
        ("rg_variant", ctypes.c_char_p, []),
        ("rg_select", ctypes.c_int, [ctypes.c_char_p]),
    ):
        function = getattr(functions, name)
        function.restype, function.argtypes = result, arguments


def _load(data: bytes, owner: object) -> ctypes.CDLL:
    """Load a library from bytes that were checked, whatever happens to the file on disk.

    Args:
        data: of the file.
        owner: who calls it; once that is gone, the library is unloaded.
    """
    if not hasattr(os, "memfd_create"):
        return _load_copy(data)
    descriptor = os.memfd_create("model.so")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    path = f"/proc/self/fd/{descriptor}"
    library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
    weakref.finalize(owner, _unload, library._handle, descriptor, path).atexit = False
    return library


def _unload(handle: int, descriptor: int, path: str) -> None:
    """Give back what a library took, once nothing uses it any more.

    The loader knows a library by its path. Where it stays loaded after all (musl never unloads), its number has to
    stay taken, or a library with the same one would be taken for it.
    """
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    close(handle)
    try:
        ctypes.CDLL(path, mode=os.RTLD_LAZY | os.RTLD_NOLOAD)
    except OSError:
        os.close(descriptor)


def _load_copy(data: bytes) -> ctypes.CDLL:
    """Load a library from a private copy, where the system has no anonymous files."""
    with tempfile.TemporaryDirectory(prefix="repghost-") as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(data)
        return ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)


def _machine(header: bytes) -> tuple[int, int] | None:
    """Return the bits and the machine an ELF file is for; None for other files."""
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    return 32 * header[4], int.from_bytes(header[18:20], "little")


def _check_machine(bundle: Bundle) -> None:
    """Refuse a library for another kind of machine than this Python is for: a 32-bit one cannot load 64-bit code."""
    wanted = _machine(bundle.library[:20])
    try:
        with open("/proc/self/exe", "rb") as file:  # noqa: PTH123 - a link that only the kernel follows
            found = _machine(file.read(20))
    except OSError:
        return  # no Linux; the loader says what it cannot load
    if wanted and found and wanted != found:
        target = bundle.manifest.get("target")
        name = target.get("name") if isinstance(target, dict) else None
        (bits, machine), (own_bits, own) = wanted, found
        raise UnsupportedError(
            f"{bundle.path} is for {name!r}: {MACHINES.get(machine, machine)}, {bits} bits. This Python is for "
            f"{MACHINES.get(own, own)}, {own_bits} bits. Build the bundle for this machine (repghost "
            "compile --target ...), or use a Python that fits."
        )


def _check_info(bundle: Bundle, text: bytes) -> None:
    """Compare what decides how much memory is written with what the manifest says."""
    try:
        info: dict[str, Any] = json.loads(text)
        sides = tuple(info["input"][name] for name in ("height", "width", "channels"))
        classes = info["classes"]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{bundle.path}: model.so does not describe itself.") from error
    if (*sides, classes) != (*bundle.shape, bundle.manifest["classes"]):
        raise IntegrityError(
            f"{bundle.path}: model.so is for images {sides} and {classes} classes, but the manifest says "
            f"{bundle.shape} and {bundle.manifest['classes']}. Copy the bundle again."
        )
