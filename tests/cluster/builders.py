"""Who builds images: a Docker or Podman engine that answers, else buildah, which needs neither daemon nor registry."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Protocol

from .layout import CACHE
from .shell import ClusterError, run

STORE = CACHE / "images"
LIMIT_S = 1200


class Builder(Protocol):
    """What images need of a builder. Images are named in full; archives are docker archives."""

    bases_from_registry: bool

    def has(self, image: str) -> bool: ...
    def names(self) -> list[str]: ...
    def identity(self, image: str) -> str: ...
    def build(self, dockerfile: Path, image: str, context: Path, arguments: dict[str, str], log: Path) -> None: ...
    def save(self, image: str, archive: Path) -> None: ...
    def push(self, image: str) -> None: ...
    def remove(self, image: str) -> None: ...


class Buildah:
    """Own storage in the cache folder, no daemon; base images are made from Debian by `images`."""

    bases_from_registry = False

    def __call__(self, *arguments: str | Path, log: Path | None = None) -> str:
        words = ["buildah", "--root", STORE / "root", "--runroot", STORE / "run", *arguments]
        env = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
        return run(words, env=env, log=log, timeout_s=LIMIT_S)

    def has(self, image: str) -> bool:
        return image in self.names()

    def names(self) -> list[str]:
        return self("images", "--format", "{{.Name}}:{{.Tag}}").split()

    def identity(self, image: str) -> str:
        return self("images", "--format", "{{.ID}}", image).split()[0]

    def build(self, dockerfile: Path, image: str, context: Path, arguments: dict[str, str], log: Path) -> None:
        words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        self("build", "--pull-never", "--layers", *words, "-f", dockerfile, "-t", image, context, log=log)

    def save(self, image: str, archive: Path) -> None:
        self("push", image, f"docker-archive:{archive}:{image}")

    def push(self, image: str) -> None:
        self("push", image)

    def remove(self, image: str) -> None:
        self("rmi", image)


class Engine:
    """docker or podman: the same words for both."""

    bases_from_registry = True

    def __init__(self, program: str) -> None:
        self._program = program

    def has(self, image: str) -> bool:
        return bool(run([self._program, "image", "inspect", "--format", "{{.Id}}", image], check=False).strip())

    def names(self) -> list[str]:
        return run([self._program, "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()

    def identity(self, image: str) -> str:
        return run([self._program, "image", "inspect", "--format", "{{.Id}}", image]).strip()

    def build(self, dockerfile: Path, image: str, context: Path, arguments: dict[str, str], log: Path) -> None:
        words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        run([self._program, "build", *words, "-f", dockerfile, "-t", image, context], log=log, timeout_s=LIMIT_S)

    def save(self, image: str, archive: Path) -> None:
        run([self._program, "save", "-o", archive, image], timeout_s=LIMIT_S)

    def push(self, image: str) -> None:
        run([self._program, "push", image], timeout_s=LIMIT_S)

    def remove(self, image: str) -> None:
        run([self._program, "rmi", image])


@cache
def choose() -> Builder:
    """The first that is there and answers."""
    found = next((program for program in ("docker", "podman") if _answers(program)), None)
    return Engine(found) if found else Buildah()


def _answers(program: str) -> bool:
    """A client without its engine is no builder."""
    if shutil.which(program) is None:
        return False
    try:
        run([program, "ps", "--quiet"])
    except ClusterError:
        return False
    return True
