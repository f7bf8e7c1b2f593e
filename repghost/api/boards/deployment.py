"""A bundle signed, proven here, and brought to a board: `repghost.sign`, `verify`, `deploy`, `status`, `rollback`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compile.bundle.manifest import ENGINE_TARGETS, bundle_target, check_bundle
from compile.bundle.signing import sign_bundle, verify_signature
from compile.bundle.verification import Verification
from compile.deploy import install
from compile.deploy import rollback as older_version
from compile.deploy.choose import choose_bundle
from compile.deploy.gate import DROP_LIMIT_POINTS
from compile.deploy.install import KEEP, Deployment, DeploySettings
from compile.deploy.inventory import Inventory, take_inventory
from compile.machine.emulator import fetch_emulator
from compile.machine.replay import verify_bundle
from compile.targets.table import EMULATED
from repghost.api.bundles import CONNECT_LIMIT_S, BundleLike, Say, Ssh, as_path, bundle_path, silent
from repghost.errors import UsageError, option


def verify(
    bundle: BundleLike,
    *,
    variants: Sequence[str] = (),
    vectors: str | os.PathLike[str] | None = None,
    fetch: bool = False,
    public_key: str | os.PathLike[str] | None = None,
    signature: str | os.PathLike[str] | None = None,
    say: Say = silent,
) -> Verification:
    """Check every digest of a bundle, then replay its recorded images with each instruction set that runs here.

    Args:
        bundle: its folder, or what `repghost.compile` returned.
        variants: the instruction sets; none: all of the bundle's.
        vectors: other recorded images than the bundle's.
        fetch: fetch an emulator where there is none (Debian, Ubuntu; no root).
        public_key: demand a signature by this key (PEM).
        signature: of the bundle; None: BUNDLE.sig.
        say: called with a line for each result.

    Raises:
        UsageError: when there is no bundle, or no such instruction set.
        IntegrityError: when a digest, a signature or a recorded image does not match.
        ToolMissingError: when not one instruction set can be run here.
    """
    path = bundle_path(bundle)
    checked = check_bundle(path)
    if public_key is not None:
        verify_signature(checked, Path(public_key), as_path(signature))
    if checked.target_name in ENGINE_TARGETS:
        if vectors is not None:
            raise UsageError(
                f"{path} is for {checked.target_name} and has samples of its own; leave {option('vectors')} out."
            )
        from compile.tensorrt.verify import verify_engine_bundle

        return verify_engine_bundle(checked, tuple(variants), say)
    emulation = bundle_target(checked).emulation or EMULATED
    emulator = fetch_emulator(emulation=emulation) if fetch else None
    return verify_bundle(path, tuple(variants), as_path(vectors), emulator, say)


def deploy(
    bundle: BundleLike,
    board: str,
    *,
    accept_unmeasured: bool = False,
    max_drop: float = DROP_LIMIT_POINTS,
    keep: int = KEEP,
    verify_limit: float | None = None,
    public_key: str | os.PathLike[str] | None = None,
    signature: str | os.PathLike[str] | None = None,
    ssh_config: str | os.PathLike[str] | None = None,
    port: int | None = None,
    connect_limit: int = CONNECT_LIMIT_S,
    say: Say = silent,
) -> Deployment:
    """Copy a bundle to a board over ssh, let the board prove it, and make it the current version there.

    Of the folder of a run the bundle is taken that suits the board: of those that fit and pass the accuracy gate the
    fastest, by what is known of the network on that board, or by two seconds of measuring each there.

    Args:
        bundle: its folder, the folder of a run, or what `repghost.compile` returned.
        board: [user@]host[:folder]; the folder is "repghost" in the account's home by default.
        accept_unmeasured: also without a passing accuracy record.
        max_drop: percentage points of top-1 that it may have lost.
        keep: versions that stay on the board.
        verify_limit: seconds for its proof; None: 300, of an engine 3600.
        public_key: demand a signature by this key (PEM).
        signature: of the bundle; None: BUNDLE.sig.
        ssh_config: an ssh configuration; None: yours.
        port: of the board's ssh server.
        connect_limit: seconds to wait for it.
        say: called with a line for each stage.

    Raises:
        UsageError: when it does not fit the board.
        AccuracyGateError: when it has no passing accuracy record.
        ToolMissingError: when a program is missing here or there.
        DeviceUnreachableError: when the board cannot be reached or cannot store it.
        IntegrityError: when it was changed, or the board did not prove it.
    """
    settings = DeploySettings(accept_unmeasured, max_drop, keep, verify_limit, as_path(public_key), as_path(signature))
    connection = Ssh(ssh_config, port, connect_limit).connect(board)
    chosen = choose_bundle(bundle_path(bundle), connection, settings, say)
    deployed = install.deploy(chosen.path, connection, settings, say)
    return replace(deployed, why=chosen.why) if chosen.why else deployed


def sign(
    bundle: BundleLike,
    *,
    key: str | os.PathLike[str],
    signature: str | os.PathLike[str] | None = None,
) -> Path:
    """Sign a bundle (OpenSSF model signing), so that `verify` and `deploy` can demand it; returns the signature's file.

    Args:
        bundle: its folder, or what `repghost.compile` returned; checked first.
        key: the private key as PEM, of an elliptic curve (P-256, P-384, P-521), without a password.
        signature: the file to write, whole or not at all; None: BUNDLE.sig.

    Raises:
        UsageError: when there is no bundle, or the key cannot sign.
        IntegrityError: when a file of the bundle was changed.
        ToolMissingError: when the package of the extra [signing] is not installed.
    """
    return sign_bundle(bundle_path(bundle), Path(key), as_path(signature))


def status(
    board: str,
    *,
    ssh_config: str | os.PathLike[str] | None = None,
    port: int | None = None,
    connect_limit: int = CONNECT_LIMIT_S,
) -> Inventory:
    """Return what is deployed on a board: its versions, the oldest first, and which is current; nothing is changed.

    Args:
        board: [user@]host[:folder], as of `deploy`.
        ssh_config: an ssh configuration; None: yours.
        port: of the board's ssh server.
        connect_limit: seconds to wait for it.

    Raises:
        UsageError: when nothing was ever deployed there.
        ToolMissingError: when ssh is not installed.
        DeviceUnreachableError: when the board cannot be reached.
    """
    return take_inventory(Ssh(ssh_config, port, connect_limit).connect(board))


def rollback(
    board: str,
    *,
    to: str | None = None,
    verify_limit: float | None = None,
    ssh_config: str | os.PathLike[str] | None = None,
    port: int | None = None,
    connect_limit: int = CONNECT_LIMIT_S,
) -> older_version.Rollback:
    """Make an older version current on a board again, once the board has proven it, and return which.

    Args:
        board: [user@]host[:folder], as of `deploy`.
        to: the beginning of a version's digest; None: the version before the current one.
        verify_limit: seconds for its programs there; None: as of `deploy`.
        ssh_config: an ssh configuration; None: yours.
        port: of the board's ssh server.
        connect_limit: seconds to wait for it.

    Raises:
        UsageError: when there is no such version.
        ToolMissingError: when ssh is not installed, or a program is missing there.
        DeviceUnreachableError: when the board cannot be reached.
        IntegrityError: when the version was changed, or the board did not prove it.
    """
    return older_version.rollback(Ssh(ssh_config, port, connect_limit).connect(board), to, verify_limit)
