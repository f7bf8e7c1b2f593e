"""OpenSSF model signing of a bundle, with the package `model-signing` of the extra [signing].

The signature lies beside the bundle, because a bundle holds nothing that its manifest does not name. It covers every
file and the manifest, so it also covers the bundle digest.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle, check_bundle
from repghost.errors import IntegrityError, ToolMissingError, UsageError, install_command
from repghost.files import temporary_folder
from repghost.terminal import shell_command
from repghost.untrusted import read_bounded

SUFFIX = ".sig"
MOST_BYTES = 1 << 20  # of a signature or a key, which have a few thousand
EXTRA = "signing"
MAKE_KEY = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem && openssl ec -in key.pem -pubout -out key.pub"


def signature_path(bundle: Path) -> Path:
    """Return where the signature of a bundle lies unless told otherwise: int8 -> int8.sig."""
    return Path(bundle).resolve().with_name(f"{Path(bundle).resolve().name}{SUFFIX}")


def is_installed() -> bool:
    """Return whether the package is there."""
    return importlib.util.find_spec("model_signing") is not None


def _package(module: str) -> Any:
    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"signatures need the package model-signing ({error}). Install it: {install_command(EXTRA)}"
        ) from error


def _key(path: Path, kind: str) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} is no file; give a {kind} key as PEM. Make a pair of keys: {MAKE_KEY}")
    read_bounded(path, MOST_BYTES)
    return path


def sign_bundle(path: Path, private_key: Path, signature: Path | None = None) -> Path:
    """Sign a bundle; returns the file with the signature, which is written whole or not at all.

    Args:
        path: the folder of the bundle, which is checked first.
        private_key: PEM, an elliptic curve key (P-256, P-384, P-521) without a password.
        signature: where to; beside the bundle by default.

    Raises:
        UsageError: when there is no bundle, or the key cannot be used.
        IntegrityError: when the bundle is not whole.
        ToolMissingError: when the package is not installed.
    """
    bundle, place = check_bundle(path), signature or signature_path(path)
    key = _key(private_key, "private")
    if place.resolve().is_relative_to(bundle.path.resolve()):
        raise UsageError(f"{place} lies in the bundle, which may hold only what its manifest names. Put it beside it.")
    signing = _package("signing")
    with temporary_folder(place) as folder:
        made = folder / place.name
        try:
            signing.Config().use_elliptic_key_signer(private_key=key).sign(bundle.path, made)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{key} cannot sign: {error}. Make a pair of keys: {MAKE_KEY}") from error
        os.replace(made, place)  # noqa: PTH105 - the atomic rename, named as POSIX names it
    return place


def verify_signature(bundle: Bundle, public_key: Path, signature: Path | None = None) -> None:
    """Check that a bundle is the one that was signed with a key.

    Args:
        bundle: from `check_bundle`.
        public_key: PEM.
        signature: the file; beside the bundle by default.

    Raises:
        UsageError: when there is no key.
        IntegrityError: when there is no signature, or it is not of this key or not of this bundle.
        ToolMissingError: when the package is not installed.
    """
    place = signature or signature_path(bundle.path)
    key = _key(public_key, "public")
    verifying = _package("verifying")
    if not place.is_file():
        raise IntegrityError(
            f"{bundle.path} is not signed: there is no {place}. Sign it: "
            + shell_command("repghost", "sign", bundle.path, "--key", "key.pem")
        )
    read_bounded(place, MOST_BYTES, error=IntegrityError)
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except ValueError as error:
        raise UsageError(f"{key} is no public key that signs bundles: {error}.") from error
    try:
        config.verify(bundle.path, place)
    except Exception as error:  # whatever a foreign signature makes the package stumble over, it does not match
        raise IntegrityError(
            f"the signature {place} does not match {bundle.path} and the key {key}: {str(error)[:300]}. Do not use "
            "this bundle; get it again from whoever signed it."
        ) from error
    if check_bundle(bundle.path).digest != bundle.digest:
        raise IntegrityError(f"{bundle.path} changed while its signature was checked.")
