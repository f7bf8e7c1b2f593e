"""`repghost pack`: bundles as a container image, for engines that roll out fleets."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repghost.commands.options.earlier import Renamed
from repghost.terminal import say, say_page, shell_command


@click.command("pack", short_help="Write bundles as a container image (OCI), without a daemon.")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...", type=click.Path(path_type=Path))
@click.option("--output", "-o", "oci", cls=Renamed, earlier=("--oci",), required=True, metavar="DIR",
              type=click.Path(path_type=Path), help="The folder of the image, in OCI's layout.")  # fmt: skip
@click.option("--name", default="localhost/repghost:latest", show_default=True, help="As a registry would call it.")
@click.option("--accept-unmeasured", is_flag=True, help="Also without a passing accuracy record.")
@click.option("--max-drop", default=2.0, show_default=True, type=float, help="Points of top-1 they may have lost.")
@click.option(
    "--public-key", type=click.Path(path_type=Path), envvar="REPGHOST_PUBLIC_KEY", show_envvar=True,
    help="Demand a signature BUNDLE.sig by this key (PEM).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    bundles: tuple[Path, ...],
    oci: Path,
    name: str,
    accept_unmeasured: bool,
    max_drop: float,
    public_key: Path | None,
    as_json: bool,
) -> None:
    """Write each BUNDLE, one network for several kinds of machines, as one container image in the folder DIR.

    The image is from scratch and runs as nobody: a static runner that watches /incoming, and the bundle. The same
    bundles give the same bytes on every machine. docs/fleets.md shows k3s, balena, Mender and Greengrass with it.

    Exit codes: 2 they are not one network or two are for the same machine, 3 no passing accuracy record, 4 the linker
    is missing, 6 one was changed or is not signed.
    """
    from repghost.api.publishing.containers import pack

    made = pack(
        list(bundles),
        oci=oci,
        name=name,
        accept_unmeasured=accept_unmeasured,
        max_drop=max_drop,
        public_key=public_key,
    )
    if as_json:
        click.echo(json.dumps(made.to_dict()))
        return
    say_page(repr(made))
    place = "REGISTRY/NAME:TAG" if made.name.startswith("localhost/") else made.name
    say(f"  {shell_command('skopeo', 'copy', '--all', f'oci:{oci}', f'docker://{place}')}")
