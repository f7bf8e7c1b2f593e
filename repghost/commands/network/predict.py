"""`repghost predict`: what a network in any form says of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from repghost.commands.progress.notes import say_notes
from repghost.terminal import say_broken, say_page

_FILE = click.Path(path_type=Path)


@click.command("predict", short_help="What a network says of pictures: checkpoint, QDQ file or bundle.")
@click.argument("network", metavar="NETWORK")
@click.argument("images", metavar="PICTURE|FOLDER...", nargs=-1, required=True, type=_FILE)
@click.option("--top", "-k", default=3, show_default=True, type=click.IntRange(1), help="Classes of each picture.")
@click.option("--labels", type=_FILE, help="A file with a class name a line, where the network names none.")
@click.option("--preprocess", type=_FILE, help="JSON, where the network does not say how pictures are prepared.")
@click.option("--width", help="Refuse a checkpoint of another width; chooses the file when NETWORK is 'timm'.")
@click.option("--weights", help="Of a network that is named, timm:NAME: a weight file, or 'pretrained'.")
@click.option("--batch", "-b", default=250, show_default=True, type=click.IntRange(1), help="Pictures per step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(network: str, images: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Print the most probable classes of pictures; of a folder, those of every picture in it.

    NETWORK is a checkpoint, a float ONNX file, a QDQ file, a bundle for this machine, the folder of a run that holds
    one (build/NAME), or timm:NAME with --weights. All but the bundle and the QDQ file are computed by PyTorch; the QDQ
    file by the numpy reference, which is slow, to the same bits as the bundle.
    """
    from repghost.api.prediction import predict

    found = predict(network, list(images), **options)
    say_notes(found.notes)
    say_broken(found.broken, "left out")
    say_page(json.dumps(found.to_dict()) if as_json else repr(found))
