"""Images: base images from Debian, the three of the product from their Dockerfiles, archives to load into nodes.

Built with whichever of docker, podman and buildah is there; buildah needs no daemon and no registry.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .layout import CACHE, TREE, note
from .model import model_file
from .shell import run
from .tools import PAUSE, build, program

STORE = CACHE / "images"
ARCHIVES = CACHE / "archives"
BUILDAH = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
PYTHON_BASE = "localhost/tokenmark/python:trixie"
PRODUCT = ("operator", "runner", "netprobe")
SOURCES = (
    "bench_runner",
    "netprobe",
    "operator",
    "schemas/tokenmark_schemas",
    "workloads",
    "deploy/docker",
    "pyproject.toml",
)


class Loader(Protocol):
    def load(self, archive: Path) -> None: ...


@dataclass(frozen=True)
class Base:
    """A base image: a minimal Debian with packages."""

    image: str
    suite: str
    packages: tuple[str, ...]


BASES = (
    Base(PYTHON_BASE, "trixie", ("python3", "python3-venv", "iperf3", "ca-certificates")),
    Base("localhost/tokenmark/llama:sid", "sid", ("llama.cpp", "ca-certificates")),
)


def buildah(*arguments: str | Path, log: Path | None = None) -> str:
    return run(
        ["buildah", "--root", STORE / "root", "--runroot", STORE / "run", *arguments],
        env=BUILDAH,
        log=log,
        timeout_s=1200,
    )


def _has(image: str) -> bool:
    return image in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()


def base_images() -> None:
    """Debian root file systems as images; once."""
    for base in BASES:
        if not _has(base.image):
            note(f"making base image {base.image}")
            _debootstrap(base)


def _debootstrap(base: Base) -> None:
    log = CACHE / f"base-{base.suite}.log"
    root = CACHE / f"rootfs-{base.suite}"
    shutil.rmtree(root, ignore_errors=True)
    run(["debootstrap", "--variant=minbase", base.suite, root, *_mirror()], log=log)
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    install = f"apt-get install -y --no-install-recommends {' '.join(base.packages)} && apt-get clean && rm -rf /var/lib/apt/lists/*"
    run(["chroot", root, "sh", "-c", install], log=log, env={"DEBIAN_FRONTEND": "noninteractive"})
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.exists():
        shutil.copy(bundle, root / "etc/ssl/certs/ca-certificates.crt")
    container = buildah("from", "scratch").strip()
    buildah("add", container, f"{root}", "/", log=log)
    buildah("config", "--cmd", "[]", container)
    buildah("commit", "--rm", container, base.image, log=log)
    shutil.rmtree(root, ignore_errors=True)


def _mirror() -> list[str]:
    """The Debian mirror this machine uses, where it names one; else debootstrap's own default."""
    found = []
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        text = path.read_text() if path.exists() else ""
        found += re.findall(r"(?:^deb (?:\[[^]]*\] )?|^URIs: )(\S+/debian/?)(?:\s|$)", text, re.MULTILINE)
    return found[:1]


def archive_of(image: str) -> Path:
    """An image as a docker archive, exported once for each build of it."""
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    name = image.removeprefix("localhost/tokenmark/").replace("/", "-").replace(":", "-")
    identity = buildah("images", "--format", "{{.ID}}", image).split()[0]
    path, mark = ARCHIVES / f"{name}.tar", ARCHIVES / f"{name}.id"
    if not path.exists() or not mark.exists() or mark.read_text() != identity:
        path.unlink(missing_ok=True)
        buildah("push", image, f"docker-archive:{path}:{image}")
        mark.write_text(identity)
    return path


def pause_archive() -> Path:
    """The sandbox image: one static program."""
    image = "localhost/tokenmark/pause:1"
    if not _has(image):
        build(PAUSE)
        container = buildah("from", "scratch").strip()
        buildah("add", container, program("pause"), "/pause")
        buildah("config", "--entrypoint", '["/pause"]', container)
        buildah("commit", "--rm", container, image)
    return archive_of(image)


def llama_archive() -> Path:
    """llama-server with the model inside, so that it runs in a restricted namespace."""
    image = "localhost/tokenmark/llama-server:1"
    if not _has(image):
        container = buildah("from", "--pull-never", "localhost/tokenmark/llama:sid").strip()
        buildah("copy", container, model_file(), "/model.gguf")
        buildah("config", "--entrypoint", '["llama-server", "--model", "/model.gguf"]', "--user", "65532", container)
        buildah("commit", "--rm", container, image)
    return archive_of(image)


def tree_digest() -> str:
    """What the images are built from, as a short hash: their tag."""
    digest = hashlib.sha256()
    for source in SOURCES:
        path = TREE / source
        files = (
            [path]
            if path.is_file()
            else sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        )
        for file in files:
            digest.update(str(file.relative_to(TREE)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def build_and_load(loader: Loader) -> dict[str, str]:
    """Builds what the tree changed, loads it, prints sizes; returns image by name."""
    base_images()
    tag = tree_digest()
    out = {}
    for name in PRODUCT:
        image = f"localhost/tokenmark/{name}:{tag}"
        if not _has(image):
            note(f"building {image}")
            buildah(
                "build", "--pull-never", "--layers", "--build-arg", f"BASE={PYTHON_BASE}", *_pip_arguments(),
                "-f", TREE / "deploy" / "docker" / f"{name}.Dockerfile", "-t", image, TREE, log=CACHE / f"image-{name}.log",
            )  # fmt: skip
        archive = archive_of(image)
        loader.load(archive)
        out[name] = image
    for name, size in sizes_mb(out).items():
        note(f"{name}: {size} MB ({out[name]})")
    _forget_old(set(out.values()))
    return out


def sizes_mb(built: dict[str, str]) -> dict[str, int]:
    """Size of each image's archive, uncompressed, by name."""
    return {name: _size_mb(image) for name, image in built.items()}


def _size_mb(image: str) -> int:
    return round(
        (ARCHIVES / (image.removeprefix("localhost/tokenmark/").replace(":", "-") + ".tar")).stat().st_size / 1e6
    )


def _forget_old(keep: set[str]) -> None:
    """Archives and images of earlier trees."""
    for image in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        if any(image.startswith(f"localhost/tokenmark/{name}:") for name in PRODUCT) and image not in keep:
            buildah("rmi", image)
            name = image.removeprefix("localhost/tokenmark/").replace(":", "-")
            for suffix in (".tar", ".id"):
                (ARCHIVES / f"{name}{suffix}").unlink(missing_ok=True)


def _pip_arguments() -> list[str]:
    """How pip reaches its registry from inside a build, as it does outside."""
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
    return [word for name in names if os.environ.get(name) for word in ("--build-arg", f"{name}={os.environ[name]}")]
