"""llama.cpp's programs on this machine, as Debian's unstable has them: a root file system that a program is started in, with this machine's
folders where they are.

They need a newer C library than a stable Debian has, so they run in their own root; the process stays the caller's child, with its number.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .builders import Buildah, choose
from .images import LLAMA_BASE, base_images
from .layout import CACHE, TREE, note
from .model import model_file
from .shell import ClusterError, run

ROOT, BIN = CACHE / "llama-root", CACHE / "llama-bin"
PROGRAMS = ("llama-server", "llama-quantize")
# the folders of this machine that a program sees
HERE = sorted({f"/{path.parts[1]}" for path in (TREE, CACHE, Path.home(), Path(tempfile.gettempdir()))})
SCRIPT = """#!/bin/sh
# {name} in its own root; made anew where that is missing
exec unshare --mount --propagation private sh -c '
for folder in {here}; do mkdir -p {root}$folder; mount --rbind $folder {root}$folder; done
mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev; mount --rbind /sys {root}/sys
here=$1; shift
exec chroot {root} /usr/bin/env -C "$here" /usr/bin/{name} "$@"' {name} "$PWD" "$@"
"""


def programs() -> Path:
    """A folder with PROGRAMS, to be put on PATH. Raises ClusterError where this machine cannot have them."""
    if not isinstance(builder := choose(), Buildah):
        raise ClusterError("llama.cpp's programs are taken from an image that buildah makes")
    if not (ROOT / "usr/bin/llama-server").exists():
        base_images()
        note("unpacking llama.cpp, once")
        container = builder("from", LLAMA_BASE).strip()
        partial = ROOT.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        run(["cp", "-a", builder("mount", container).strip(), partial])
        builder("rm", container)
        partial.rename(ROOT)
    BIN.mkdir(exist_ok=True)
    for name in PROGRAMS:
        (BIN / name).write_text(SCRIPT.format(name=name, root=ROOT, here=" ".join(HERE)))
        (BIN / name).chmod(0o755)
    return BIN


def quantised() -> dict[str, Path]:
    """The tests' model in four quantisations, made of its own Q4_K_M: they prove mechanics, not what a quantisation costs in quality."""
    folder = CACHE / "model-quants"
    folder.mkdir(parents=True, exist_ok=True)
    found = {"Q4_K_M": model_file()}
    for word in ("Q5_K_M", "Q8_0", "F16"):
        target = folder / f"gemma-{word}.gguf"
        if not target.exists():
            partial = target.with_suffix(".partial")
            run(
                [programs() / "llama-quantize", "--allow-requantize", model_file(), partial, word, "2"],
                log=CACHE / "model.log",
            )
            partial.rename(target)
        found[word] = target
    return found
