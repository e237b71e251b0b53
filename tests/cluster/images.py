"""Images: base images from Debian, the three of the product from their Dockerfiles, llama-server with a model."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .builders import Buildah, choose
from .layout import CACHE, TREE, note
from .model import model_file
from .shell import run
from .tools import PAUSE, build, program

ARCHIVES = CACHE / "archives"
LOCAL = "localhost/tokenmark"
PYTHON_BASE = f"{LOCAL}/python:trixie"
LLAMA_BASE = f"{LOCAL}/llama:sid"
DOCKERFILES = Path(__file__).resolve().parent / "dockerfiles"
PRODUCT = ("operator", "runner", "netprobe")
SOURCES = (
    "bench_runner",
    "netprobe",
    "operator",
    "schemas/tokenmark_decisions",
    "schemas/tokenmark_schemas",
    "workloads",
    "deploy/docker",
    "deploy/locks",
    ".dockerignore",
    "pyproject.toml",
)


class Destination(Protocol):
    """A cluster: it takes archives, or pulls from a registry that it names."""

    registry: str | None

    def load(self, archive: Path) -> None: ...


@dataclass(frozen=True)
class Base:
    """A base image: a minimal Debian with packages."""

    image: str
    suite: str
    packages: tuple[str, ...]


BASES = (
    Base(PYTHON_BASE, "trixie", ("python3", "python3-venv", "iperf3", "ca-certificates")),
    Base(LLAMA_BASE, "sid", ("llama.cpp", "ca-certificates")),
)


def base_images() -> None:
    """Debian root file systems as images, once; an engine takes its bases from its registry."""
    builder = choose()
    if not isinstance(builder, Buildah):
        return
    for base in BASES:
        if not builder.has(base.image):
            note(f"making base image {base.image}")
            _debootstrap(base, builder)


def _debootstrap(base: Base, buildah: Buildah) -> None:
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
    builder = choose()
    identity = builder.identity(image)
    path = _archive(image)
    mark = path.with_suffix(".id")
    if not path.exists() or not mark.exists() or mark.read_text() != identity:
        path.unlink(missing_ok=True)
        builder.save(image, path)
        mark.write_text(identity)
    return path


def _archive(image: str) -> Path:
    return ARCHIVES / f"{image.removeprefix(LOCAL + '/').replace('/', '-').replace(':', '-')}.tar"


def deliver(destination: Destination, image: str) -> str:
    """Brings a local image to a cluster; returns the name it has there."""
    if destination.registry is None:
        destination.load(archive_of(image))
    else:
        choose().push(image)
    return image


def _named(destination: Destination, name: str, tag: str) -> str:
    return f"{destination.registry or LOCAL}/{name}:{tag}"


def pause_archive() -> Path:
    """The sandbox image of the embedded cluster: one static program."""
    image = f"{LOCAL}/pause:1"
    if not choose().has(image):
        build(PAUSE)
        folder = CACHE / "pause-context"
        folder.mkdir(exist_ok=True)
        shutil.copy(program("pause"), folder / "pause")
        choose().build(DOCKERFILES / "pause.Dockerfile", image, folder, {}, CACHE / "image-pause.log")
    return archive_of(image)


def llama_name(destination: Destination) -> str:
    """What that image is called, built or not."""
    return _named(destination, "llama-server", "1")


def llama_server(destination: Destination) -> str:
    """llama-server with the model inside, so that it runs in a restricted namespace; its name in the cluster."""
    image = llama_name(destination)
    builder = choose()
    if not builder.has(image):
        base_images()
        base = {} if builder.bases_from_registry else {"BASE": LLAMA_BASE}
        model = model_file()
        note(f"building {image}")
        builder.build(DOCKERFILES / "llama-server.Dockerfile", image, model.parent, base, CACHE / "image-llama.log")
    return deliver(destination, image)


def rag_backend(destination: Destination) -> str:
    """The reference RAG backend, as its Dockerfile makes it; its name in the cluster."""
    image = _named(
        destination, "rag", tree_digest("deploy/rag", "deploy/docker/rag.Dockerfile", "deploy/locks/rag.lock")
    )
    builder = choose()
    if not builder.has(image):
        base_images()
        note(f"building {image}")
        builder.build(TREE / "deploy/docker/rag.Dockerfile", image, TREE, build_arguments(), CACHE / "image-rag.log")
    return deliver(destination, image)


def quality_name(destination: Destination) -> str:
    """What that image is called, built or not."""
    lock = "deploy/locks/quality.lock"
    tag = tree_digest(
        "bench_runner", "schemas/tokenmark_schemas", "schemas/tokenmark_decisions", "workloads", "deploy/docker/quality.Dockerfile", lock
    )  # fmt: skip
    return _named(destination, "quality", tag)


def quality(destination: Destination) -> str:
    """The image that judges code, as its Dockerfile makes it; its name in the cluster."""
    image, builder = quality_name(destination), choose()
    if not builder.has(image):
        base_images()
        note(f"building {image}")
        registry = (
            {"NPM_CONFIG_REGISTRY": os.environ["NPM_CONFIG_REGISTRY"]} if os.environ.get("NPM_CONFIG_REGISTRY") else {}
        )
        dockerfile = TREE / "deploy/docker/quality.Dockerfile"
        builder.build(dockerfile, image, TREE, {**build_arguments(), **registry}, CACHE / "image-quality.log")
    name = deliver(destination, image)
    _forget_old({image}, ("quality",))
    return name


def s3_server(destination: Destination) -> str:
    """versitygw with a bucket named `bench`; its name in the cluster."""
    image = _named(destination, "versitygw", "1")
    builder = choose()
    if not builder.has(image):
        base_images()
        base = {} if builder.bases_from_registry else {"BASE": PYTHON_BASE}
        builder.build(
            DOCKERFILES / "versitygw.Dockerfile",
            image,
            program("versitygw").parent,
            base,
            CACHE / "image-versitygw.log",
        )
    return deliver(destination, image)


def tree_digest(*sources: str) -> str:
    """What images are built from, as a short hash: their tag. Without sources, the product's."""
    digest = hashlib.sha256()
    for source in sources or SOURCES:
        path = TREE / source
        files = (
            [path]
            if path.is_file()
            else sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        )
        for file in files:
            digest.update(str(file.relative_to(TREE)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def build_and_load(destination: Destination) -> dict[str, str]:
    """Builds what the tree changed, brings it to the cluster, prints sizes; returns image by name."""
    base_images()
    tag, builder = tree_digest(), choose()
    arguments = build_arguments()
    out = {}
    for name in PRODUCT:
        image = _named(destination, name, tag)
        if not builder.has(image):
            note(f"building {image}")
            dockerfile = TREE / "deploy" / "docker" / f"{name}.Dockerfile"
            builder.build(dockerfile, image, TREE, arguments, CACHE / f"image-{name}.log")
        out[name] = deliver(destination, image)
    for name, size in sizes_mb(out).items():
        note(f"{name}: {size} MB ({out[name]})")
    _forget_old(set(out.values()))
    return out


def sizes_mb(built: dict[str, str]) -> dict[str, int]:
    """Size of each image as an archive, uncompressed, by name."""
    return {name: round(archive_of(image).stat().st_size / 1e6) for name, image in built.items()}


def _forget_old(keep: set[str], names: Sequence[str] = PRODUCT) -> None:
    """Archives and images of earlier trees."""
    for image in choose().names():
        if any(image.startswith(f"{LOCAL}/{name}:") for name in names) and image not in keep:
            choose().remove(image)
            for path in (_archive(image), _archive(image).with_suffix(".id")):
                path.unlink(missing_ok=True)


def build_arguments() -> dict[str, str]:
    """The base where no registry has it, and how pip reaches its registry from inside a build, as it does outside."""
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
    pip = {name: os.environ[name] for name in names if os.environ.get(name)}
    return pip if choose().bases_from_registry else {"BASE": PYTHON_BASE, **pip}
