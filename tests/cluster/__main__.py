"""`python -m tests.cluster up|down|status|kubeconfig|load-image|images|install`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import images, layout, provider, release
from .shell import ClusterError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, about in (
        ("up", "bring the cluster up; idempotent"),
        ("down", "take it down, leaving nothing behind"),
        ("status", "say what runs"),
        ("kubeconfig", "print the path of the kubeconfig"),
        ("tools", "build or find kubectl, helm and the rest"),
        ("images", "build the three images and load them"),
        ("install", "install the chart with Helm"),
    ):
        verbs.add_parser(verb, help=about)
    load = verbs.add_parser("load-image", help="load an image archive into every node")
    load.add_argument("archive", type=Path)
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    began = time.monotonic()
    try:
        chosen = provider.choose()
        match arguments.verb:
            case "up":
                chosen.up()
            case "down":
                chosen.down()
            case "status":
                print(chosen.status())
                return 0
            case "kubeconfig":
                print(chosen.kubeconfig())
                return 0
            case "tools":
                chosen.tools()
            case "load-image":
                chosen.load(arguments.archive)
            case "images":
                chosen.up()
                images.build_and_load(chosen)
            case "install":
                chosen.up()
                release.install(chosen, images.build_and_load(chosen))
    except ClusterError as exc:
        print(f"cluster: {exc}", file=sys.stderr)
        return 2
    print(f"{arguments.verb}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    layout.make()
    sys.exit(main())
