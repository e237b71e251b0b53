"""The version after this one, as it might be: a CRD with a further field that has a default, a status, an attempt and a result
with further members. Its chart and its images, for upgrades and rollbacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import images
from .builders import choose
from .images import LOCAL, PRODUCT, Destination
from .layout import CACHE, TREE, note

SCHEMAS = Path("schemas/tokenmark_schemas")
FURTHER = (
    (SCHEMAS / "kube.py", "    startup_deadline_seconds: Annotated[", "    next_field: int = 7\n"),
    (SCHEMAS / "result.py", "    run: RunFacts\n", "    next_member: int = 7\n"),
    (SCHEMAS / "run_status.py", "    number: Annotated[int, Field(ge=1, le=99)]\n", "    next_member: int = 7\n"),
    (SCHEMAS / "run_status.py", "    attempts: Annotated[list[Attempt]", "    next_status: int = 7\n"),
    (Path("operator/tokenmark_operator/shared/step.py"), '        self.status["observedGeneration"]', '        self.status["nextStatus"] = 7\n'),
)  # fmt: skip


def chart() -> Path:
    return _folder() / "deploy" / "helm" / "tokenmark"


def build_and_load(destination: Destination) -> dict[str, str]:
    """Image by name, built anew for each tree that it is made of."""
    tree, tag = _made(), images.tree_digest()
    out = {}
    for name in PRODUCT:
        image = f"{destination.registry or LOCAL}/next-{name}:{tag}"
        if not choose().has(image):
            note(f"building {image}")
            dockerfile = tree / "deploy" / "docker" / f"{name}.Dockerfile"
            choose().build(dockerfile, image, tree, images.build_arguments(), CACHE / f"image-next-{name}.log")
        out[name] = images.deliver(destination, image)
    return out


def _folder() -> Path:
    return CACHE / "next-version"


def _made() -> Path:
    """A copy of this tree with the further members, and all that is generated from them."""
    folder = _folder()
    shutil.rmtree(folder, ignore_errors=True)
    for part in (*images.SOURCES, "README.md", "deploy/helm"):
        source = TREE / part
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    for path, before, text in FURTHER:
        whole = (folder / path).read_text()
        assert before in whole, f"{path} has no line that begins {before!r} any more"
        (folder / path).write_text(whole.replace(before, text + before, 1))
    (folder / "schemas").mkdir(exist_ok=True)
    paths = os.pathsep.join(str(folder / part) for part in ("schemas", "operator"))
    words = [
        sys.executable,
        "-c",
        "import sys; from tokenmark_schemas.export import main; main(sys.argv[1])",
        str(folder),
    ]
    subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, check=True, cwd=folder)
    return folder
