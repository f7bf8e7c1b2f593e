"""`repghost verify`: check the digests of a bundle, and its logits against those of the numpy reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from repghost.commands.options.ssh_options import SignatureOptions, signature_options
from repghost.terminal import say, say_progress


@click.command("verify", short_help="Check a bundle's digests and replay its recorded pictures.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--variant", "variants", multiple=True, help="Only this instruction set; may be repeated.")
@click.option("--vectors", type=click.Path(path_type=Path), help="Other recorded pictures than the bundle's.")
@click.option(
    "--fetch/--no-fetch", default=False, help="Fetch an emulator when there is none (Debian, Ubuntu; no root)."
)
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
    from repghost.api.boards.deployment import verify

    tell: Callable[[str], None] = (lambda line: None) if as_json else say_progress
    result = verify(bundle, variants=variants, vectors=vectors, fetch=fetch, say=tell, **vars(demanded))
    if as_json:
        click.echo(json.dumps(result.to_dict()))
    else:
        say(f"verified: {bundle} (bundle digest {result.bundle.digest})")
