"""`repghost verify`: check the digests of a bundle, and its logits against those of the numpy reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from repghost.commands.options.ssh_options import SignatureOptions, signature_options
from repghost.errors import UsageError
from repghost.terminal import say


@click.command("verify", short_help="Check a bundle's digests and replay its recorded pictures.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--variant", "variants", multiple=True, help="Only this instruction set; may be repeated.")
@click.option("--vectors", type=click.Path(path_type=Path), help="Other recorded pictures than the bundle's.")
@click.option("--fetch", is_flag=True, help="Fetch an emulator when there is none (Debian, Ubuntu; no root).")
@signature_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    bundle: Path,
    variants: tuple[str, ...],
    vectors: Path | None,
    fetch: bool,
    demanded: SignatureOptions,
    as_json: bool,
) -> None:
    """Check every digest of BUNDLE, then replay its recorded pictures with each instruction set that runs here.

    Bundles for arm64 run under qemu-aarch64 on other machines. Exit code 6: something does not match.
    """
    from compile.bundle.manifest import ENGINE_TARGETS, check_bundle

    checked = check_bundle(bundle)
    if demanded.public_key is not None:
        from compile.bundle.signing import verify_signature

        verify_signature(checked, demanded.public_key, demanded.signature)
    tell: Callable[[str], None] = (lambda line: None) if as_json else say
    if checked.target_name in ENGINE_TARGETS:
        from compile.tensorrt.verify import verify_engine_bundle

        if vectors is not None:
            raise UsageError(f"{bundle} is for {checked.target_name} and has samples of its own; leave --vectors out.")
        result = verify_engine_bundle(checked, variants, tell)
    else:
        from compile.bundle.manifest import bundle_target
        from compile.machine.emulator import fetch_emulator
        from compile.machine.replay import verify_bundle
        from compile.targets.table import EMULATED

        emulation = bundle_target(checked).emulation or EMULATED
        emulator = fetch_emulator(emulation=emulation) if fetch else None
        result = verify_bundle(bundle, variants, vectors, emulator, tell)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
    else:
        say(f"verified: {bundle} (bundle digest {result.bundle.digest})")
