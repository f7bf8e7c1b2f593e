"""`repghost sign`: sign a bundle, so that deploy and verify can demand it."""

from __future__ import annotations

from pathlib import Path

import click

from repghost.terminal import say


@click.command("sign", short_help="Sign a bundle (OpenSSF model signing).")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="The private key, PEM.")
@click.option("--signature", type=click.Path(path_type=Path), help="Where to.  [default: BUNDLE.sig]")
def command(bundle: Path, key: Path, signature: Path | None) -> None:
    """Sign BUNDLE with an elliptic curve key. Needs the extra [signing].

    Make a pair of keys: openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout
    -out key.pub. 'repghost deploy' and 'repghost verify' then take --public-key key.pub.
    """
    from repghost.api.boards.deployment import sign

    say(f"signed: {sign(bundle, key=key, signature=signature)}")
