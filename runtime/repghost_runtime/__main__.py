"""`python -m repghost_runtime BUNDLE`: what a bundle is, a replay of its recorded images, or a server of frames."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from typing import NoReturn

from repghost_runtime.errors import RepGhostError
from repghost_runtime.model import Model
from repghost_runtime.server import USUAL_PIXELS, Server
from repghost_runtime.server import __doc__ as PROTOCOL


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "repghost-runtime",
        description="Runs the network of a bundle. Prints JSON, one object a line. "
        "Exit codes: 0 done, 2 wrong usage, 4 this machine cannot run it, 6 a digest or a recorded image differs.",
        epilog=PROTOCOL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", help="the folder")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--info", action="store_true", help="what the bundle holds (the default)")
    what.add_argument("--verify", action="store_true", help="replay the recorded images")
    what.add_argument("--serve", metavar="WHERE", help="answer on a Unix socket, or on 127.0.0.1:PORT")
    parser.add_argument("--variant", help="use this instruction set instead of the best one")
    parser.add_argument("--digest", default="", help="the beginning of the digest that the bundle has to have")
    parser.add_argument("--max-pixels", type=int, default=USUAL_PIXELS, help="of a frame (%(default)s)")
    return parser


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    asked = _arguments().parse_args(arguments)
    try:
        model = Model(asked.bundle, variant=asked.variant, digest=asked.digest)
        if asked.serve:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _end)
            with contextlib.closing(Server(model, asked.serve, max_pixels=asked.max_pixels)) as server:
                _say(command="serve", address=server.address, variant=model.variant)
                server.run()
        elif asked.verify:
            _say(command="verify", ok=True, pictures=model.verify(), variant=model.variant)
        else:
            height, width, channels = model.shape
            sides = {"height": height, "width": width, "channels": channels}
            digest, name = model.bundle.digest, model.bundle.manifest.get("model")
            more = {"outputs": [vars(it) for it in model.bundle.outputs]} if model.bundle.outputs else {}
            facts = {"model": name, "digest": digest, "input": sides, "classes": model.classes, **more}
            _say(command="info", **facts, variant=model.variant)
    except RepGhostError as error:
        print(f"repghost-runtime: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
