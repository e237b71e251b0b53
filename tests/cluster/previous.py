"""The version before this one, out of the history: its chart and its images, for upgrades and rollbacks."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from . import images
from .builders import choose
from .images import LOCAL, PRODUCT, Destination
from .layout import CACHE, TREE, note

COMMIT = "e9f71519d4a186ca85bb3fad827e17abefb4eb1a"


def is_known() -> bool:
    """False in a clone without history."""
    return subprocess.run(["git", "cat-file", "-e", COMMIT], cwd=TREE, capture_output=True, check=False).returncode == 0


def chart() -> Path:
    return _tree() / "deploy" / "helm" / "tokenmark"


def build_and_load(destination: Destination) -> dict[str, str]:
    """Image by name, built once."""
    images.base_images()
    arguments = images.build_arguments()
    out = {}
    for name in PRODUCT:
        image = f"{destination.registry or LOCAL}/previous-{name}:{COMMIT[:12]}"
        if not choose().has(image):
            note(f"building {image}")
            dockerfile = _tree() / "deploy" / "docker" / f"{name}.Dockerfile"
            choose().build(dockerfile, image, _tree(), arguments, CACHE / f"image-previous-{name}.log")
        out[name] = images.deliver(destination, image)
    return out


def _tree() -> Path:
    folder = CACHE / f"previous-{COMMIT[:12]}"
    if not folder.exists():
        archive = subprocess.run(["git", "archive", COMMIT], cwd=TREE, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
    return folder
